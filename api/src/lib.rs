//! HTTP sidecar: health, symbols, metrics.
