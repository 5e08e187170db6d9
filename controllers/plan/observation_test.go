package plan

import "testing"

// A leader of an earlier term, cut off with a change that nobody will ever commit, knows a membership of a higher index
// than the leader's. What counts is the leader's.
func TestMembershipIsTheLeaders(t *testing.T) {
	membership := func(index uint64, ids ...string) *Membership {
		m := &Membership{Index: index, Committed: true}
		for _, id := range ids {
			m.Members = append(m.Members, Member{ID: id, Name: "db-" + id, Voter: true})
		}
		return m
	}
	pod := func(id string, term uint64, leads, quorate bool, m *Membership) Pod {
		return Pod{Name: "db-" + id, Report: &Report{Member: id, Cluster: "c", State: Joined, Term: term, Leads: leads, Quorate: quorate, Membership: m}}
	}
	seen := Observation{Latched: Latched{ClusterID: "c"}, Pods: []Pod{
		pod("0", 4, true, false, membership(9, "0", "1", "2", "3")),
		pod("1", 5, true, true, membership(7, "0", "1", "2")),
		pod("2", 5, false, false, membership(6, "0", "1")),
	}}
	if m := seen.Membership(); m.Index != 7 {
		t.Errorf("with a leader the membership is of index %d, want the leader's, 7", m.Index)
	}
	seen.Pods[1].Report.Quorate = false
	if m := seen.Membership(); m.Index != 9 {
		t.Errorf("without a leader the membership is of index %d, want the newest, 9", m.Index)
	}
	seen.Pods = seen.Pods[:0]
	if m := seen.Membership(); m != nil {
		t.Errorf("where nobody reports a membership there is %+v", m)
	}
}
