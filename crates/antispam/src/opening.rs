//! Opens the tables that an operator names under `[antispam]`, and looks at every line of them before mail is judged by it.
//!
//! All that is wrong is found in one go, each with its setting, file and line. A file that changes for the worse later is
//! not taken into use, and told by [`tables::Table::trouble`].

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use tables::{Entry, Spec, Table, TableError, ValueCheck};

use crate::action::{Action, Place};

/// A table that cannot be used: what an operator wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {error}")]
pub struct OpenError {
    /// The setting that names it.
    pub key: String,
    /// What is wrong.
    pub error: TableError,
}

/// All tables that cannot be used; displayed one a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenErrors(pub Vec<OpenError>);

impl fmt::Display for OpenErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if number == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for OpenErrors {}

/// Opens tables, and gathers what is wrong with them.
#[derive(Debug)]
pub(crate) struct Opening<'a> {
    base: &'a Path,
    opened: Vec<Arc<dyn Table>>,
    errors: Vec<OpenError>,
}

impl<'a> Opening<'a> {
    /// `base`: where relative paths start.
    pub(crate) fn new(base: &'a Path) -> Self {
        Self { base, opened: Vec::new(), errors: Vec::new() }
    }

    /// Opens one; none when that cannot be done. `place`: what its values have to be orders for, if they have to be any.
    pub(crate) fn table(&mut self, key: &str, spec: &Spec, place: Option<Place>) -> Option<Arc<dyn Table>> {
        let check = place.map(orders).unwrap_or_default();
        match tables::open_checked(spec, self.base, &check) {
            Ok(table) => {
                self.opened.push(Arc::clone(&table));
                Some(table)
            }
            Err(error) => {
                self.errors.push(OpenError { key: key.to_owned(), error });
                None
            }
        }
    }

    /// All that were opened.
    ///
    /// # Errors
    /// What is wrong with the others.
    pub(crate) fn finish(self) -> Result<Vec<Arc<dyn Table>>, OpenErrors> {
        if self.errors.is_empty() { Ok(self.opened) } else { Err(OpenErrors(self.errors)) }
    }
}

/// Values must be orders that can be carried out there. What a match will be put into is looked at as far as it is known.
fn orders(place: Place) -> ValueCheck {
    ValueCheck::new(move |Entry { value, has_groups, .. }| {
        let looked = if *has_groups {
            Action::check_template(value, place)
        } else {
            Action::parse(value, place).map(drop)
        };
        looked.map_err(|error| format!("not an action {place}: {}", error.why))
    })
}
