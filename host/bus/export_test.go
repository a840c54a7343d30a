package bus

// Served reports whether a group has begun.
func (b *Bus) Served(topic, name string) bool {
	b.mu.Lock()
	g := b.groups[groupKey{topic, name}]
	b.mu.Unlock()
	if g == nil {
		return false
	}
	<-g.begun
	return g.err == nil
}
