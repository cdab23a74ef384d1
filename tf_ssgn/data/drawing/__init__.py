"""How the drawn dataset is drawn: figures made of shared parts, and two ways to render them."""
