"""The base of replay in Reverb's tables, through Reverb's client or through ours."""
