//! Batches fetched whole: what is read from them, and what becomes of a reader whose brokers fail it.

mod brokers;
mod record_sets;
