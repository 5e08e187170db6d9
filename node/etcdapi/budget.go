package etcdapi

import (
	"fmt"
	"sync/atomic"
)

// budget is what the answers that are being made may take up together, in bytes.
type budget struct {
	most  int64
	spent atomic.Int64
}

// bill is one request's part of a budget.
type bill struct {
	of *budget
	n  int64
}

func (b *budget) bill() *bill { return &bill{of: b} }

// add takes some more; the error is ErrBusy.
func (b *bill) add(bytes int) error {
	b.n += int64(bytes)
	if now := b.of.spent.Add(int64(bytes)); now > b.of.most {
		return fmt.Errorf("answers of %d bytes are being made: %w", now, ErrBusy)
	}
	return nil
}

// settle gives everything back.
func (b *bill) settle() { b.of.spent.Add(-b.n) }
