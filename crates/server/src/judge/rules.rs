//! What holds for whom: the settings of all, of a domain, of a recipient put together once.

use std::collections::HashMap;
use std::sync::Arc;

use config::Config;
use mail::{Address, Domain};
use policy::Rules;

/// The rules of all recipients.
#[derive(Debug)]
pub(super) struct RuleSet {
    all: Arc<Rules>,
    domains: HashMap<Domain, Arc<Rules>>,
    recipients: HashMap<Address, Arc<Rules>>,
}

impl RuleSet {
    pub(super) fn new(config: &Config) -> Self {
        let settings = &config.antispam;
        let all = Arc::new(Rules::new("antispam", settings.mode, &settings.thresholds));
        let mut domains = HashMap::new();
        for (index, domain) in config.domain.iter().enumerate() {
            let Some(own) = &domain.antispam else { continue };
            let key = format!("domain[{index}].antispam");
            let rules = Arc::new(all.overridden(&key, own.mode, &own.thresholds));
            domains.extend(domain.domains().map(|name| (name.clone(), Arc::clone(&rules))));
        }
        let mut recipients = HashMap::new();
        for (index, own) in settings.recipient.iter().enumerate() {
            let below = domains.get(&own.address.domain).unwrap_or(&all);
            let key = format!("antispam.recipient[{index}]");
            let rules = Arc::new(below.overridden(&key, own.mode, &own.thresholds));
            recipients.insert(folded(&own.address), rules);
        }
        Self { all, domains, recipients }
    }

    /// What holds for this recipient.
    pub(super) fn of(&self, recipient: &Address) -> Arc<Rules> {
        let own = || self.recipients.get(&folded(recipient));
        let found = if self.recipients.is_empty() { None } else { own() };
        Arc::clone(found.or_else(|| self.domains.get(&recipient.domain)).unwrap_or(&self.all))
    }
}

/// Recipients of ours are the same in any case.
fn folded(address: &Address) -> Address {
    let local = mail::LocalPart::from_unquoted(&address.local.as_str().to_lowercase());
    Address { local: local.unwrap_or_else(|_| address.local.clone()), domain: address.domain.clone() }
}
