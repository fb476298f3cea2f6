//! What we choose, pure: admission, drain.
