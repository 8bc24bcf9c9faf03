//! The SMTP and LMTP server session without I/O: states, extensions, SASL exchanges, framing.
