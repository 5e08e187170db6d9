package cluster

import (
	"strings"
	"testing"

	"raftsman.dev/hack/devcluster/internal/layout"
)

func TestPartitionRules(t *testing.T) {
	c := layout.Cluster{Base: layout.Root, Name: "n", Slot: 3}
	rules := partitionRules(c, []int{0, 2})
	if !strings.HasPrefix(rules, healRules) {
		t.Errorf("an earlier partition stays:\n%s", rules)
	}
	for _, n := range []int{0, 2} {
		for _, what := range []string{c.NodeIP(n).String(), c.NodePodRange(n).String()} {
			if strings.Count(rules, what) != 6 {
				t.Errorf("%s is not dropped both ways on three hooks:\n%s", what, rules)
			}
		}
	}
	if strings.Contains(rules, c.NodeIP(1).String()) {
		t.Errorf("a node that nobody named is cut off:\n%s", rules)
	}
}
