package plan

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"k8s.io/apimachinery/pkg/api/meta"
	quantity "k8s.io/apimachinery/pkg/api/resource"

	api "raftsman.dev/api/v1alpha1"
)

// TestScripts tells the planner's stories. Rewrite them with: go test ./controllers/plan -args -rewrite.
//
//	world replicas=N seed=N [keep]   a new world with nothing in it
//	settle [turns=N]                 turns until the planner rests or N are over; prints each new step
//	step [half]                      one turn; with half the operator dies after announcing
//	want replicas=N [paused]         another spec
//	template NAME [bad]              a new Pod template
//	version 1.N.0 NAME [bad]         another image, of that version
//	lower replicas=N                 somebody else scales the StatefulSet
//	guard N                          somebody else sets the budget
//	unclaim disk=N                   somebody deletes the claim; it goes with its Pod
//	lose disk=N | damage disk=N | delete pod=N | silence pod=N | hear pod=N
//	stray pod=N cluster=ID           the Pod comes up with the data of another cluster
//	storage size=N                   another size of volumes
//	disk at=N free=N                 what is left on a disk whose lower bound is 100
//	volumes rigid|elastic            whether volumes may grow
//	copy disk=N from=N               the data of one disk is put on another
//	replace disk=N                   a person wants the member of a disk replaced
//	forget                           status is lost
//	status                           what status says
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var w *world
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd == "world" {
				seed, replicas := uint64(1), 3
				d.MaybeScanArgs(t, "seed", &seed)
				d.MaybeScanArgs(t, "replicas", &replicas)
				w = newWorld(rand.New(rand.NewPCG(seed, seed)), Spec{Name: "db", Replicas: int32(replicas), KeepVolumes: d.HasArg("keep")})
				w.story = true
				return ""
			}
			before := len(w.log)
			out := w.script(t, d) + strings.Join(w.log[before:], "\n")
			if len(w.broken) > 0 {
				t.Fatalf("%s: %v", d.Pos, w.broken)
			}
			return out
		})
	})
}

func (w *world) script(t *testing.T, d *datadriven.TestData) string {
	at := 0
	for _, key := range []string{"disk", "pod", "at"} {
		d.MaybeScanArgs(t, key, &at)
	}
	switch d.Cmd {
	case "settle":
		turns := 200
		d.MaybeScanArgs(t, "turns", &turns)
		for range turns {
			w.tick()
			if s := w.operate(false); s.Kind == Rest {
				break
			}
		}
	case "step":
		w.tick()
		w.operate(d.HasArg("half"))
	case "want":
		w.want.Paused = d.HasArg("paused")
		replicas := int(w.want.Replicas)
		d.MaybeScanArgs(t, "replicas", &replicas)
		w.want.Replicas = int32(replicas)
	case "template":
		w.template(d.CmdArgs[0].Key, d.HasArg("bad"))
	case "lower":
		replicas := 0
		d.ScanArgs(t, "replicas", &replicas)
		w.set.Replicas = int32(replicas)
	case "version":
		w.call(minorIn(d.CmdArgs[0].Key))
		w.template(d.CmdArgs[1].Key, d.HasArg("bad"))
	case "guard":
		budget, err := strconv.Atoi(d.CmdArgs[0].Key)
		if err != nil {
			t.Fatal(err)
		}
		*w.guard = int32(budget)
	case "unclaim":
		w.claims[at].leaving = true
	case "lose":
		w.pods[at].leaving, w.claims[at].leaving = true, true
	case "damage":
		w.claims[at].corrupt = true
	case "delete":
		w.pods[at].leaving = true
	case "silence", "hear":
		w.silent[at] = d.Cmd == "silence"
	case "stray":
		var cluster string
		d.ScanArgs(t, "cluster", &cluster)
		w.claims[at].cluster = cluster
		w.groups = append(w.groups, &group{id: cluster, now: &Membership{Index: 1, Committed: true, Members: []Member{{ID: w.claims[at].member, Name: w.names[at], Voter: true}}}})
	case "disk":
		free := int64(0)
		d.ScanArgs(t, "free", &free)
		w.claims[at].disk = Disk{FreeBytes: free, LowBytes: 100, Low: free < 100, Out: free < 25}
	case "replace":
		w.want.Replace = w.claims[at].member
	case "storage":
		var size string
		d.ScanArgs(t, "size", &size)
		w.want.Storage = quantity.MustParse(size)
	case "volumes":
		w.rigid = d.HasArg("rigid")
	case "copy":
		from := 0
		d.ScanArgs(t, "from", &from)
		w.claims[at].member, w.claims[at].cluster = w.claims[from].member, w.claims[from].cluster
	case "forget":
		w.latched = Latched{}
	case "status":
		return w.status()
	default:
		t.Fatalf("%s: unknown command %s", d.Pos, d.Cmd)
	}
	return ""
}

// status renders what people see.
func (w *world) status() string {
	seen := w.observe().seen
	step := Next(w.want, seen, w.now)
	s := &api.RaftClusterStatus{Operation: w.latched.Operation, Members: w.members}
	Describe(s, 1, w.want, seen, step, w.now)
	w.members = s.Members
	var b strings.Builder
	fmt.Fprintf(&b, "pods %d ready %d updated %d voters %d learners %d leader %q version %q\n", s.Replicas, s.ReadyReplicas, s.UpdatedReplicas, s.VotingMembers, s.Learners, s.Leader, s.Version)
	for _, m := range s.Members {
		fmt.Fprintf(&b, "%s %s %s ready=%v lag=%s", m.Name, m.ID, m.Role, m.Ready, m.Lag)
		if m.Disk != "" {
			fmt.Fprintf(&b, " disk=%s", m.Disk)
		}
		if r := m.Remains; r != nil {
			fmt.Fprintf(&b, " boot=%d term=%d last=%d commit=%d", r.Boot, r.Term, r.LastIndex, r.CommitIndex)
		}
		b.WriteString("\n")
	}
	for _, kind := range []string{api.ConditionReady, api.ConditionAvailable, api.ConditionProgressing, api.ConditionDegraded, api.ConditionInitialized, api.ConditionReconciling, api.ConditionStalled} {
		if c := meta.FindStatusCondition(s.Conditions, kind); c != nil {
			fmt.Fprintf(&b, "%s=%s %s: %s\n", c.Type, c.Status, c.Reason, c.Message)
		}
	}
	if s.Operation != nil {
		fmt.Fprintf(&b, "operation %s %s %s since %s\n", s.Operation.Type, s.Operation.Step, s.Operation.Member, s.Operation.StartedAt.UTC().Format(time.TimeOnly))
	}
	return b.String()
}
