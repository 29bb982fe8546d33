//! Entry points of the fuzz targets; [`decoders`] is shared with a test that replays the seeds.

pub mod decoders;
