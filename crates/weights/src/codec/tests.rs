//! Golden and property tests of the codecs.
