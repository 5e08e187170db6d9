// Package small has one of everything that a mutant is made of.
package small

import "fmt"

type size int

const bound = 7

type box struct {
	n     size
	full  bool
	items []size
}

func (b *box) String() string { return fmt.Sprint(b.n + 1) }

func (b *box) put(s size) error {
	switch {
	case b.full && s > 0:
		return fmt.Errorf("full at %d", b.n+1)
	case s < 1 || s > bound:
		b.n++
		b.full = true
	}
	b.items = append(b.items, s)
	b.n += s
	if b.full {
		panic("full")
	}
	return nil
}

func most(a, b size) size { return max(a, b-1) }
