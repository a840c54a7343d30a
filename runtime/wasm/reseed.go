package wasm

import (
	crand "crypto/rand"
	"encoding/binary"
	"math/rand/v2"
)

// A guest in Go draws its random numbers from a generator in its memory, which
// the runtime seeds once, at its start. After a reset it would give the same
// numbers again to every call. So the host seeds it anew. It knows the generator
// by its arithmetic: 32 words that are the output of ChaCha8 for the seed behind
// them, https://c2sp.org/chacha8rand. In other languages random numbers come from
// the host (random_get), or the guest's own seed is its own affair.
//
// It is 32 words of output, 4 words of seed, then as 32 bits each how many words
// are used up, how many there are, and the block that they come from.
const (
	seedAt     = 32 * 8
	usedAt     = seedAt + 32
	wordsAt    = usedAt + 4
	blockAt    = wordsAt + 4
	chachaSize = blockAt + 4
	chachaMax  = 16     // generators of one guest
	chachaLook = 10_000 // places that look like one, 1 us each: a guest may be full of them
)

// findSeeds lists where in a memory generators lie.
func findSeeds(memory []byte) (found []int) {
	looks := 0
	for at := 0; at+chachaSize <= len(memory) && len(found) < chachaMax && looks < chachaLook; at += 8 {
		b, u32 := memory[at:], binary.LittleEndian.Uint32
		used, words, block := u32(b[usedAt:]), u32(b[wordsAt:]), u32(b[blockAt:])
		if block > 12 || block%4 != 0 || words != 32 && !(words == 28 && block == 12) || used > words {
			continue
		}
		looks++
		if isChaCha(b, words, block) {
			found = append(found, at)
		}
	}
	return found
}

func isChaCha(b []byte, words, block uint32) bool {
	g := rand.NewChaCha8([32]byte(b[seedAt:usedAt]))
	for range block / 4 * 32 {
		g.Uint64()
	}
	for n := range words {
		if g.Uint64() != binary.LittleEndian.Uint64(b[8*n:]) {
			return false
		}
	}
	return true
}

// reseed starts the generator at b anew.
func reseed(b []byte) {
	seed := [32]byte{}
	crand.Read(seed[:]) // never fails
	g := rand.NewChaCha8(seed)
	for n := range 32 {
		binary.LittleEndian.PutUint64(b[8*n:], g.Uint64())
	}
	copy(b[seedAt:], seed[:])
	binary.LittleEndian.PutUint32(b[usedAt:], 0)
	binary.LittleEndian.PutUint32(b[wordsAt:], 32)
	binary.LittleEndian.PutUint32(b[blockAt:], 0)
}
