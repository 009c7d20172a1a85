//! What is made of the rounds: a record, verdicts, tables.

pub mod record;
pub mod table;
pub mod verdict;
