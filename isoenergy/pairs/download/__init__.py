"""The hostile outside: images of URLs that nobody vouches for, and where a connection may go."""
