"""A milter by Debian's python3-milter, and so by libmilter, that does all that one can do to a message.

What it does is in the subject. Its one argument is the port of 127.0.0.1 that it listens on.
"""

import sys

import Milter


class Everything(Milter.Base):
    def connect(self, hostname, family, address):
        self.client = "%s %s" % (hostname, address[0])
        return Milter.CONTINUE

    def hello(self, name):
        self.name = name
        return Milter.CONTINUE

    def envfrom(self, sender, *parameters):
        self.subject, self.text, self.sender = "", b"", " ".join((sender,) + parameters)
        self.macros = [self.getsymval(name) for name in ("j", "i", "{mail_addr}", "{daemon_addr}")]
        return Milter.CONTINUE

    def unknown(self, command):
        if "later" in command:
            self.setreply("450", "4.7.1", "heard " + command)
            return Milter.TEMPFAIL
        return Milter.CONTINUE

    def envrcpt(self, recipient, *parameters):
        if "refused" in recipient:
            self.setreply("550", "5.7.1", "not him", "nor 100%% of his kind")
            return Milter.REJECT
        return Milter.CONTINUE

    def header(self, name, value):
        if name == "Subject":
            self.subject = value
        return Milter.CONTINUE

    def body(self, chunk):
        self.text += chunk
        return Milter.CONTINUE

    def eom(self):
        if "change" in self.subject:
            self.change()
        for word, answer in (("reject", Milter.REJECT), ("later", Milter.TEMPFAIL), ("discard", Milter.DISCARD)):
            if word in self.subject:
                return answer
        if "quarantine" in self.subject:
            self.quarantine("it says so")
        return Milter.ACCEPT

    def change(self):
        self.progress()
        self.addheader("X-Seen", "%s|%s|%s|%s" % (self.client, self.name, self.sender, "|".join(map(str, self.macros))))
        self.addheader("X-First", "on top\n\tfolded", 1)
        self.chgheader("Subject", 1, "changed")
        self.chgheader("X-Gone", 1, "")
        self.replacebody(self.text.upper())
        self.chgfrom("<list@far.test>")
        self.addrcpt("<more@example.test>", "NOTIFY=NEVER ORCPT=rfc822;first@far.test")
        self.delrcpt("<user@example.test>")


Milter.factory = Everything
Milter.set_flags(Milter.ADDHDRS + Milter.CHGHDRS + Milter.CHGBODY + Milter.ADDRCPT + Milter.ADDRCPT_PAR + Milter.DELRCPT
                 + Milter.QUARANTINE + Milter.CHGFROM)
Milter.runmilter("everything", "inet:%s@127.0.0.1" % sys.argv[1], 60)
