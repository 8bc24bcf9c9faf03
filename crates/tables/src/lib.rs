//! Read-only lookups that operators write: every answer is Found, Absent or Unavailable.
