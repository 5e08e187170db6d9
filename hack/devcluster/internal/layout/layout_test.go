package layout

import (
	"net/netip"
	"slices"
	"testing"
)

// TestSlotsShareNothing lays out every possible cluster and looks for an address, a port or a path that
// two of them have.
func TestSlotsShareNothing(t *testing.T) {
	ports := map[int]int{}
	var ranges []netip.Prefix
	for slot := range Slots {
		c := Cluster{Base: Root, Name: "a", Slot: slot}
		for _, p := range c.Ports() {
			if other, taken := ports[p]; taken {
				t.Errorf("port %d belongs to slots %d and %d", p, other, slot)
			}
			if p > 32767 {
				t.Errorf("port %d of slot %d lies where the machine draws its clients' ports", p, slot)
			}
			ports[p] = slot
		}
		ranges = append(ranges, c.NodeRange(), c.PodRange(), c.ServiceRange())
	}
	for i, a := range ranges {
		for _, b := range ranges[i+1:] {
			if a.Overlaps(b) {
				t.Errorf("%s and %s overlap", a, b)
			}
		}
	}
	a, b := Cluster{Base: Root, Name: "a"}, Cluster{Base: Root, Name: "b"}
	if a.Dir() == b.Dir() || a.Cgroup() == b.Cgroup() {
		t.Errorf("clusters a and b share %s or %s", a.Dir(), a.Cgroup())
	}
}

func TestAddressesLieInTheirRanges(t *testing.T) {
	for slot := range Slots {
		c := Cluster{Base: Root, Name: "a", Slot: slot}
		if !c.ServiceRange().Contains(c.DNS()) || !c.ServiceRange().Contains(c.APIService()) {
			t.Errorf("slot %d: a Service address lies outside of %s", slot, c.ServiceRange())
		}
		seen := map[netip.Addr]bool{}
		for node := range MaxNodes {
			if !c.NodeRange().Contains(c.NodeIP(node)) || seen[c.NodeIP(node)] {
				t.Errorf("slot %d: address %s of node %d is outside of %s or taken", slot, c.NodeIP(node), node, c.NodeRange())
			}
			seen[c.NodeIP(node)] = true
			if !c.PodRange().Contains(c.Gateway(node)) || !c.NodePodRange(node).Contains(c.Gateway(node)) {
				t.Errorf("slot %d: gateway %s of node %d is outside of its range", slot, c.Gateway(node), node)
			}
		}
	}
}

func TestNames(t *testing.T) {
	for _, good := range []string{"a", "raftsman", "e2e-2", "abcdefghijklmnopqrst"} {
		if err := CheckName(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "A", "1a", "-a", "a-", "a/b", "..", "a b", "abcdefghijklmnopqrstu"} {
		if CheckName(bad) == nil {
			t.Errorf("name %q is taken; it must be refused", bad)
		}
	}
	for node := range MaxNodes {
		if n, err := NodeNumber(NodeName(node)); err != nil || n != node {
			t.Errorf("node %d comes back as %d, %v", node, n, err)
		}
	}
	for _, bad := range []string{"", "node-", "node-1x", "node-01", "other"} {
		if n, err := NodeNumber(bad); err == nil {
			t.Errorf("%q is taken for node %d", bad, n)
		}
	}
	if CheckNodes(0) == nil || CheckNodes(MaxNodes+1) == nil || CheckNodes(3) != nil {
		t.Error("CheckNodes is wrong at a bound")
	}
}

func TestFreeSlot(t *testing.T) {
	taken := map[int]bool{0: true, 2: true}
	if s, err := FreeSlot(taken); s != 1 || err != nil {
		t.Errorf("slot %d, %v; want 1", s, err)
	}
	for s := range Slots {
		taken[s] = true
	}
	if s, err := FreeSlot(taken); err == nil {
		t.Errorf("slot %d where none is free", s)
	}
	if !slices.IsSorted((Cluster{}).Ports()) {
		t.Error("a cluster's own port is not tried first")
	}
}
