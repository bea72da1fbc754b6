//! `Service`: the settings of one instance of a service of the inventory, as far as a
//! technology needs them. Pure; whoever reads an inventory or a snapshot fills it.

use std::collections::BTreeMap;

/// One instance of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The instance's name.
    pub instance: String,
    /// The service, without where it comes from, such as `wireguard`.
    pub name: String,
    /// Who takes part, in which role.
    pub members: Vec<Member>,
}

/// A machine in one role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub machine: String,
    /// Such as `controller` or `peer`.
    pub role: String,
    /// Its settings by their dotted names: those of the role, of its tags and its own.
    pub settings: BTreeMap<String, Setting>,
}

/// A value of the inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    /// A string.
    Text(String),
    /// A whole number.
    Number(i64),
    /// True or false.
    Flag(bool),
    /// A list of strings.
    Texts(Vec<String>),
}

impl Member {
    /// A setting that is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.settings.get(name) {
            Some(Setting::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// A setting that is true or false.
    pub fn flag(&self, name: &str) -> Option<bool> {
        match self.settings.get(name) {
            Some(Setting::Flag(flag)) => Some(*flag),
            _ => None,
        }
    }

    /// A setting that is a number of 16 bits, such as a port.
    pub fn number(&self, name: &str) -> Option<u16> {
        match self.settings.get(name) {
            Some(Setting::Number(number)) => u16::try_from(*number).ok(),
            _ => None,
        }
    }
}
