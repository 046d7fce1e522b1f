"""Motion of faces without pictures: flow images of expressions from action units alone."""
