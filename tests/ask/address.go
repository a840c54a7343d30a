package ask

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

// Address is one of this machine for a weft to listen at, now and after each of its
// restarts. It lies below the ports that the system gives to whoever connects, for
// that may take any of those before weft does, or while weft is away. No other caller
// of Address gets it as long as this process lives.
func Address() (string, error) {
	for range 1000 {
		at := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(22_000))
		claim, err := net.ListenPacket("udp", at)
		if err != nil {
			continue
		}
		if l, err := net.Listen("tcp", at); err != nil {
			claim.Close()
			continue
		} else if err := l.Close(); err != nil {
			return "", err
		}
		mu.Lock()
		defer mu.Unlock()
		claims = append(claims, claim)
		return at, nil
	}
	return "", errors.New("no port between 10000 and 32000 is free")
}

var (
	mu     sync.Mutex
	claims []net.PacketConn // guarded by mu: of the same ports, which UDP has apart from TCP
)
