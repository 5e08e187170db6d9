package watch

// set holds each element once, in an order that does not depend on chance.
type set[T comparable] struct {
	items []T
	at    map[T]int
}

func (s *set[T]) has(x T) bool {
	_, ok := s.at[x]
	return ok
}

func (s *set[T]) add(x T) {
	if s.has(x) {
		return
	}
	if s.at == nil {
		s.at = map[T]int{}
	}
	s.at[x] = len(s.items)
	s.items = append(s.items, x)
}

// remove puts the last one into the gap.
func (s *set[T]) remove(x T) {
	i, ok := s.at[x]
	if !ok {
		return
	}
	last := len(s.items) - 1
	s.items[i] = s.items[last]
	s.at[s.items[i]] = i
	delete(s.at, x)
	var none T
	s.items[last] = none
	s.items = s.items[:last]
}

// take empties the set and returns what was in it.
func (s *set[T]) take() []T {
	items := s.items
	s.items, s.at = nil, nil
	return items
}
