package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

// auditPolicy has the API server write down every request of the accounts in the operator's namespace, and no other.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: Metadata, userGroups: ["system:serviceaccounts:` + system + `"]}
- {level: None}
`

func (s *suite) auditLog() string { return filepath.Join(s.dir, "audit.log") }

// audited makes the policy and the flags with which the API server keeps the log. A new cluster begins a new one.
func (s *suite) audited() ([]string, error) {
	policy := filepath.Join(s.dir, "audit-policy.yaml")
	if err := os.WriteFile(policy, []byte(auditPolicy), 0o644); err != nil {
		return nil, err
	}
	if !keep() {
		if err := os.Remove(s.auditLog()); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	return []string{
		"--api-server-flag=--audit-policy-file=" + policy, "--api-server-flag=--audit-log-path=" + s.auditLog(),
		"--api-server-flag=--audit-log-maxsize=1000",
	}, nil
}

// restrict makes sure of namespaces and holds them to the restricted Pod Security Standard.
func (s *suite) restrict(t *testing.T, namespaces ...string) {
	t.Helper()
	for _, ns := range namespaces {
		s.apply(t, fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata: {name: %s, labels: {pod-security.kubernetes.io/enforce: restricted}}\n", ns), "--server-side", "--force-conflicts")
	}
}

// right is one thing that a role allows or a request does.
type right struct{ group, resource, verb string }

func (r right) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %s", r.verb, r.resource, r.group))
}

// request is what is read of a line of the audit log.
type request struct {
	Verb      string
	ObjectRef *struct{ Resource, Subresource, APIGroup, Namespace, Name string }
	User      struct{ Username string }
	// Annotations hold the authorizer's decision.
	Annotations              map[string]string
	RequestReceivedTimestamp time.Time
}

// handover is a time in which an operator that still runs has lost its rights, or not got them yet.
type handover struct{ from, to time.Time }

// handingOver takes an operator's rights away, and its Pods: what is left of it may ask in vain until it is gone.
func (s *suite) handingOver(do func()) {
	from := time.Now()
	do()
	s.handovers = append(s.handovers, handover{from, time.Now()})
}

// uninstall removes the release, and waits until no operator is left.
func (s *suite) uninstall(t *testing.T) {
	t.Helper()
	s.handingOver(func() {
		if _, err := s.k.Run(t.Context(), s.k.Helm, "uninstall", release, "-n", system, "--wait", "--timeout", "2m"); err != nil {
			t.Fatal(err)
		}
		s.operators(t, 0, "")
	})
}

func (r request) right() right {
	resource := r.ObjectRef.Resource
	if r.ObjectRef.Subresource != "" {
		resource += "/" + r.ObjectRef.Subresource
	}
	return right{r.ObjectRef.APIGroup, resource, r.Verb}
}

// readAudit splits the requests of a log into those that were allowed, how often each, and those that were not, outside
// of handovers.
func readAudit(r io.Reader, handovers []handover) (used map[right]int, refused []string, err error) {
	used = map[right]int{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var q request
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
			return nil, nil, fmt.Errorf("%w in the line %q", err, lines.Text())
		}
		switch {
		case q.ObjectRef == nil || q.ObjectRef.Resource == "": // discovery
		case q.Annotations["authorization.k8s.io/decision"] == "forbid":
			at := q.RequestReceivedTimestamp
			if slices.ContainsFunc(handovers, func(h handover) bool { return !at.Before(h.from) && !at.After(h.to) }) {
				continue
			}
			refused = append(refused, fmt.Sprintf("%s: %v of %s/%s", q.User.Username, q.right(), q.ObjectRef.Namespace, q.ObjectRef.Name))
		default:
			used[q.right()]++
		}
	}
	return used, refused, lines.Err()
}

// readRoles are the rights of the roles in a file, which the chart's roles are made from too.
func readRoles(file string) (map[right]bool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	granted := map[right]bool{}
	for _, doc := range strings.Split(string(text), "\n---\n") {
		role := &rbacv1.ClusterRole{}
		if err := yaml.Unmarshal([]byte(strings.TrimPrefix(doc, "---\n")), role); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		for _, rule := range role.Rules {
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					for _, verb := range rule.Verbs {
						granted[right{group, resource, verb}] = true
					}
				}
			}
		}
	}
	return granted, nil
}

// unlogged are the rights that are needed and that no line of an audit log shows.
func unlogged(r right) (why string, ok bool) {
	switch {
	case r.resource == "raftclusters/finalizers":
		return "asked for by the admission of owner references that block deletion, where that is switched on", true
	case r.resource == "events":
		return "which group and verb is used is up to the client library: an event is created, or patched when it comes again", r.verb != "create" || r.group == ""
	case r.verb == "list":
		return "an API server that streams its lists is only asked to watch; an older one is asked for lists", true
	case r.verb == "create" && r.resource != "pods/eviction" && r.resource != "leases":
		return "to apply what is not there yet is logged as the patch that it is, and must be allowed as both", true
	}
	return "", false
}

// rights demands that the operator did nothing on this cluster that its role does not list and, if all scenarios ran on
// it, that there is nothing in the role that it did not do.
func (s *suite) rights(t *testing.T, whole bool) {
	granted, err := readRoles(filepath.Join(s.repo, "config/rbac/role.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.Open(s.auditLog())
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	used, refused, err := readAudit(log, s.handovers)
	if err != nil {
		t.Fatal(err)
	}
	compareRights(t, granted, used, refused, whole)
}

func compareRights(t *testing.T, granted map[right]bool, used map[right]int, refused []string, whole bool) {
	t.Helper()
	for _, r := range refused {
		t.Errorf("the operator was not allowed: %s", r)
	}
	for _, r := range slices.SortedFunc(maps.Keys(used), byText) {
		if !granted[r] {
			t.Errorf("the operator does %q %d times, which config/rbac/role.yaml does not list", r, used[r])
		}
	}
	for _, r := range slices.SortedFunc(maps.Keys(granted), byText) {
		why, excused := unlogged(r)
		switch {
		case used[r] == 0 && !excused && !whole:
			t.Logf("left to scenarios that have not run: %q", r)
		case used[r] == 0 && !excused:
			t.Errorf("the operator may %q and never does", r)
		case used[r] == 0:
			t.Logf("may and was not seen to %q: %s", r, why)
		}
	}
}

func byText(a, b right) int { return strings.Compare(a.String(), b.String()) }

// TestRightsAreCompared needs no cluster: it shows that each kind of difference is found.
func TestRightsAreCompared(t *testing.T) {
	const log = `{"verb":"get","user":{"username":"u"},"objectRef":{"resource":"pods"},"annotations":{"authorization.k8s.io/decision":"allow"}}
{"verb":"create","user":{"username":"u"},"objectRef":{"resource":"pods","subresource":"eviction","namespace":"n","name":"p"},"annotations":{"authorization.k8s.io/decision":"allow"}}
{"verb":"delete","user":{"username":"u"},"objectRef":{"resource":"secrets","namespace":"n","name":"x"},"annotations":{"authorization.k8s.io/decision":"forbid"}}
{"verb":"get","user":{"username":"u"},"requestURI":"/api"}
{"verb":"get","user":{"username":"u"},"objectRef":{"resource":"leases"},"annotations":{"authorization.k8s.io/decision":"forbid"},"requestReceivedTimestamp":"2026-01-02T03:04:05.678901Z"}
`
	leaving := time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)
	used, refused, err := readAudit(strings.NewReader(log), []handover{{leaving, leaving.Add(time.Minute)}})
	if err != nil {
		t.Fatal(err)
	}
	want := map[right]int{{"", "pods", "get"}: 1, {"", "pods/eviction", "create"}: 1}
	if !maps.Equal(used, want) || !slices.Equal(refused, []string{"u: delete secrets of n/x"}) {
		t.Errorf("used %v, refused %v", used, refused)
	}
	granted, err := readRoles("../../config/rbac/role.yaml")
	if err != nil {
		t.Fatal(err)
	}
	excused := 0
	for r := range granted {
		if _, ok := unlogged(r); ok {
			excused++
		}
	}
	if len(granted) < 30 || excused*2 > len(granted) {
		t.Errorf("%d of %d rights are excused: the comparison says too little", excused, len(granted))
	}
}
