package life

import (
	"context"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
)

// complete is judged when all tests are over: every word of the vocabulary has been told to the API server, and
// every right of the operator's role has been used. A run of some tests only cannot say that, and does not.
func (s *suite) complete(ctx context.Context) error {
	if f := flag.Lookup("test.run"); f != nil && f.Value.String() != "" {
		return nil
	}
	constants, err := vocabulary()
	if err != nil {
		return err
	}
	var unseen []string
	s.seen.mu.Lock()
	for name, word := range constants {
		if strings.HasPrefix(name, "Event") {
			word = "event " + word
		}
		if !s.seen.words[word] {
			unseen = append(unseen, name)
		}
	}
	s.seen.mu.Unlock()
	unused, err := s.unused(ctx)
	if err != nil {
		return err
	}
	if len(unseen)+len(unused) > 0 {
		slices.Sort(unseen)
		return fmt.Errorf("seed=%d: constants of api/v1alpha1 that no test has seen: %v; rights that no operator has used: %v", s.seed, unseen, unused)
	}
	return nil
}

// vocabulary are the conditions, reasons, events and operations that api/v1alpha1 declares, by the constants' names.
func vocabulary() (map[string]string, error) {
	words := map[string]string{}
	for _, file := range []string{"vocabulary.go", "types.go"} {
		parsed, err := parser.ParseFile(token.NewFileSet(), "../../api/v1alpha1/"+file, nil, 0)
		if err != nil {
			return nil, err
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			v, ok := n.(*ast.ValueSpec)
			if !ok || len(v.Values) != 1 {
				return true
			}
			name := v.Names[0].Name
			lit, ok := v.Values[0].(*ast.BasicLit)
			if !ok || !slices.ContainsFunc([]string{"Condition", "Reason", "Event", "Operation"}, func(p string) bool { return strings.HasPrefix(name, p) }) {
				return true
			}
			if word, err := strconv.Unquote(lit.Value); err == nil {
				words[name] = word
			}
			return true
		})
	}
	if len(words) < 30 {
		return nil, fmt.Errorf("only %d constants found: this check checks nothing", len(words))
	}
	return words, nil
}

// unused are the rights of the operator's roles that no operator has made use of.
func (s *suite) unused(ctx context.Context) ([]string, error) {
	rules, err := s.rules(ctx)
	if err != nil {
		return nil, err
	}
	s.used.mu.Lock()
	defer s.used.mu.Unlock()
	var unused []string
	for _, rule := range rules {
		for _, resource := range rule.Resources {
			for _, verb := range rule.Verbs {
				used := slices.ContainsFunc(rule.APIGroups, func(group string) bool { return s.used.calls[call{verb, group, resource}] > 0 })
				if !used && !indirect(verb, resource) {
					unused = append(unused, verb+" "+resource)
				}
			}
		}
	}
	return unused, nil
}

// indirect are rights that are used without a request of their own, or only as time goes by.
func indirect(verb, resource string) bool {
	switch {
	case resource == "raftclusters/finalizers":
		return true // to own objects with blockOwnerDeletion, where that is checked
	case resource == "events":
		return verb != "create" // a series is patched when an event comes again, and renewed after minutes
	case verb == "list":
		return true // an API server that streams its lists is only asked to watch
	case verb == "create":
		return resource != "pods/eviction" // applying what is not there yet is a patch, and needs this right too
	}
	return false
}
