//! Finds the frames in a stream of bytes.
