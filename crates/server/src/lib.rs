//! The daemon: session driver, intake, queue runner, accounts, metrics, mail log, admin interface.
