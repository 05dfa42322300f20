"""The base of replay in Reverb's tables: what its buffers share, with Reverb's client or with ours."""
