//! The whole configuration as types, with errors that teach.
