//! The actors: the only place that names ractor.
