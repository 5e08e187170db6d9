package kv

// Point is the checksum of effects right after the entry at Index was applied. Members whose checksums differ at one
// index have come to differ.
type Point struct {
	Index   uint64
	Effects uint32
}

// PointEvery is how many entries lie between two points unless Options say otherwise: they stand at the multiples of it,
// whatever the batches are in which entries are applied. All members must agree on it, or they have nothing to compare.
const PointEvery = 1024

// pass notes the point that the batch has reached, if there is one here.
func (b *batch) pass() {
	if b.meta.Index%b.s.opts.PointEvery == 0 {
		b.points = append(b.points, Point{b.meta.Index, b.meta.Effects})
	}
}

// TakePoints returns the points that were passed since it was last called, also that of the state at which the store
// was opened or switched to. It is for the applying goroutine.
func (s *Store) TakePoints() []Point {
	points := s.points
	s.points = nil
	return points
}
