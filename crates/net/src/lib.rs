//! The outside: resolver, TLS configuration and certificates, listeners, PROXY protocol, dialling.
