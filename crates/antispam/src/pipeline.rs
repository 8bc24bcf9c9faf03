//! All checks at their stages: one line for each.

use policy::{Definitions, GroupDef, Pipeline, book};

use crate::settings::Settings;

/// The checks by these settings, and what their symbols are worth by default.
#[must_use]
pub fn pipeline(settings: &Settings) -> (Pipeline, Definitions) {
    let pipeline = Pipeline::default();
    let definitions = Definitions {
        symbols: pipeline.symbols(),
        groups: vec![GroupDef::new(book::LISTS, settings.dnsbl_cap)],
        composites: Vec::new(),
    };
    (pipeline, definitions)
}
