"""Large images in windows: where these lie, and what a network sees through them."""
