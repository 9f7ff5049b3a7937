// The pause program of Ratchet's test bench.
module ratchet.test/bench/pause

go 1.26
