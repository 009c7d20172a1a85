//! What is made of the rounds: a record, verdicts, tables, charts.

pub mod chart;
pub mod record;
pub mod table;
pub mod verdict;
