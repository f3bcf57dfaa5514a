//! tidegate-build
