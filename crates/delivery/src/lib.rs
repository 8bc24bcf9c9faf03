//! Where mail goes and how: the router and the delivery agents.
