//! For tests: a session driver over the real SMTP session, with rules that can be read at a glance.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use mail::{ForwardPath, Reply};
use smtp::{Answer, Output, PeerInfo, Question, Role, Session};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Caller, LocalSession, Stream};

/// One message that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) caller: Caller,
    pub(crate) sender: String,
    pub(crate) recipients: Vec<String>,
    pub(crate) message: String,
    /// MAIL's and RCPT's parameters, as text.
    pub(crate) parameters: String,
}

/// Takes mail for everybody but `nobody@` (550) and `later@` (451); refuses senders `evil@` (550).
#[derive(Default)]
pub(crate) struct Driver {
    pub(crate) taken: Mutex<Vec<Taken>>,
}

impl LocalSession for Driver {
    fn talk(&self, stream: Box<dyn Stream>, caller: Caller) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.drive(stream, caller))
    }
}

impl Driver {
    async fn drive(&self, mut stream: Box<dyn Stream>, caller: Caller) {
        let settings = Arc::new(smtp::Settings::default());
        let mut session = Session::new(settings, Role::Local, PeerInfo::on_this_machine(), Instant::now());
        let empty = || Taken {
            caller: caller.clone(),
            sender: String::new(),
            recipients: Vec::new(),
            message: String::new(),
            parameters: String::new(),
        };
        let mut current = empty();
        let mut buffer = vec![0; 4096];
        loop {
            while let Some(output) = session.poll() {
                match output {
                    Output::Send(bytes) => {
                        if stream.write_all(&bytes).await.is_err() {
                            return;
                        }
                    }
                    Output::Body(bytes) => current.message.push_str(std::str::from_utf8(&bytes).unwrap()),
                    Output::Ask(question) => {
                        if matches!(question, Question::Mail { .. }) {
                            current = empty();
                        }
                        let reply = self.decide(question, &mut current);
                        session.answer(Answer::Reply(reply), Instant::now());
                    }
                    Output::Close(_) => return,
                    Output::StartTls | Output::BodyAborted(_) => {}
                }
            }
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => session.eof(Instant::now()),
                Ok(read) => session.receive(&buffer[..read], Instant::now()),
            }
        }
    }

    fn decide(&self, question: Question, current: &mut Taken) -> Reply {
        match question {
            Question::Connect => Reply::plain(220, "mx.test ESMTP"),
            Question::Helo { .. } => Reply::plain(250, "mx.test"),
            Question::Mail { reverse_path, params } => {
                current.sender = reverse_path.to_string();
                current.parameters = format!("{params:?}");
                if current.sender.starts_with("evil@") {
                    return Reply::new(550, (5, 7, 1), "not yours");
                }
                Reply::new(250, (2, 1, 0), "ok")
            }
            Question::Recipient { path, params, .. } => {
                let text = match path {
                    ForwardPath::Postmaster => "postmaster".to_owned(),
                    ForwardPath::Mailbox(address) => address.to_string(),
                };
                if text.starts_with("nobody@") {
                    return Reply::new(550, (5, 1, 1), "no such user");
                }
                if text.starts_with("later@") {
                    return Reply::new(451, (4, 3, 0), "table unavailable");
                }
                current.parameters.push_str(&format!(" {params:?}"));
                current.recipients.push(text);
                Reply::new(250, (2, 1, 5), "ok")
            }
            Question::Data => Reply::plain(354, "go"),
            Question::EndOfData { .. } => {
                self.taken.lock().unwrap().push(current.clone());
                Reply::new(250, (2, 0, 0), "queued as 00000000000AA")
            }
            other => panic!("{other:?}"),
        }
    }
}
