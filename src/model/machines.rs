//! `Machines`: the names of all machines, in order, and which problems cost
//! them an address. Owns uniqueness; judges no name.

use std::collections::HashMap;

/// Most problems kept for one machine.
const MAX_PROBLEMS: usize = 16;

/// A set of names that remembers its order.
#[derive(Debug, Default)]
pub(crate) struct Machines {
    order: Vec<String>,
    /// For each name the indexes of its problems.
    problems: HashMap<String, Vec<usize>>,
}

impl Machines {
    /// Adds a name, if it is new.
    pub(crate) fn add(&mut self, name: &str) {
        if !self.problems.contains_key(name) {
            self.order.push(name.to_owned());
            self.problems.insert(name.to_owned(), Vec::new());
        }
    }

    /// Adds a name and the problem that concerns it.
    pub(crate) fn lose(&mut self, name: &str, problem: Option<usize>) {
        self.add(name);
        if let (Some(problems), Some(problem)) = (self.problems.get_mut(name), problem)
            && problems.len() < MAX_PROBLEMS
            && !problems.contains(&problem)
        {
            problems.push(problem);
        }
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.problems.contains_key(name)
    }

    pub(super) fn names(&self) -> Vec<&str> {
        self.order.iter().map(String::as_str).collect()
    }

    pub(super) fn problems(&self, name: &str) -> &[usize] {
        self.problems.get(name).map_or(&[], Vec::as_slice)
    }
}
