//! AUTH: refused until the mechanisms are in.
#![allow(clippy::boxed_local, reason = "the mechanisms come next")]

use super::Session;
use super::state::State;
use crate::dialogue::Answer;
use crate::line::Line;
use crate::replies;
use crate::sasl::Exchange;

impl Session {
    pub(super) fn auth(&mut self, state: State, _argument: &[u8]) -> State {
        self.remain(state, &replies::not_implemented())
    }

    pub(super) fn auth_line(&mut self, _exchange: Box<Exchange>, _line: Line) -> State {
        State::Greeted
    }

    pub(super) fn auth_answered(&mut self, _exchange: Box<Exchange>, _answer: Answer) -> State {
        State::Greeted
    }
}
