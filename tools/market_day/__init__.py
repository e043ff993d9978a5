"""A trading day on the embedded AWS, played on its moved clock and watched: a test of the whole, and a show."""
