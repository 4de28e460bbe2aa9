//! Playlists, the timeline behind them, and CMAF bytes. No I/O.
