//! tidegate-filter-bundle
