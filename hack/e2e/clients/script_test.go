package clients

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// step is one command of a script with what the lines behind it say; see doc.go.
type step struct {
	line    int
	command string
	fails   bool
	acts    []act
	takes   []taking
	sorted  bool
	differs string
	ours    []string // what Raftsman writes, where that differs
}

// act is one thing that is done while a command runs.
type act struct {
	kind byte // '<', '?' or '+'
	text string
}

// taking is a variable that is taken from a command's output.
type taking struct {
	name string
	from *regexp.Regexp
}

// waits says whether the command goes on by itself until it is interrupted.
func (s *step) waits() bool {
	for _, a := range s.acts {
		if a.kind == '?' {
			return true
		}
	}
	return false
}

// parseScript reads a script.
func parseScript(text string) ([]*step, error) {
	var all []*step
	lines := bufio.NewScanner(strings.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		mark, rest, _ := strings.Cut(line, " ")
		if len(mark) != 1 || !strings.Contains("<?+=~|", mark) {
			s := &step{line: n, command: line}
			if mark == "!" {
				s.command, s.fails = rest, true
			}
			all = append(all, s)
			continue
		}
		if len(all) == 0 {
			return nil, fmt.Errorf("line %d follows no command", n)
		}
		if err := all[len(all)-1].more(mark[0], rest); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	return all, lines.Err()
}

// more takes a line that follows the command.
func (s *step) more(mark byte, rest string) error {
	switch mark {
	case '<', '?', '+':
		s.acts = append(s.acts, act{mark, rest})
	case '|':
		s.ours = append(s.ours, rest)
	case '=':
		name, pattern, _ := strings.Cut(rest, " ")
		from, err := regexp.Compile(pattern)
		if err == nil && from.NumSubexp() != 1 {
			err = errors.New("one group must say what is taken")
		}
		if err != nil {
			return err
		}
		s.takes = append(s.takes, taking{name, from})
	case '~':
		what, name, _ := strings.Cut(rest, " ")
		switch {
		case what == "sorted" && name == "":
			s.sorted = true
		case what == "differs" && name != "":
			s.differs = name
		default:
			return fmt.Errorf("it says neither sorted nor differs NAME: %q", rest)
		}
	}
	return nil
}

// words splits a command as a shell would: '…' as it stands, "…" with Go's escapes.
func words(text string) ([]string, error) {
	var all []string
	for text = strings.TrimLeft(text, " "); text != ""; text = strings.TrimLeft(text, " ") {
		word := ""
		for text != "" && text[0] != ' ' {
			piece, rest, err := quoted(text)
			if err != nil {
				return nil, err
			}
			word, text = word+piece, rest
		}
		all = append(all, word)
	}
	return all, nil
}

// quoted takes the next piece of a word.
func quoted(text string) (piece, rest string, err error) {
	switch text[0] {
	case '\'':
		piece, rest, ok := strings.Cut(text[1:], "'")
		if !ok {
			return "", "", fmt.Errorf("a quote does not end: %s", text)
		}
		return piece, rest, nil
	case '"':
		prefix, err := strconv.QuotedPrefix(text)
		if err != nil {
			return "", "", fmt.Errorf("a quote does not end: %s", text)
		}
		piece, err = strconv.Unquote(prefix)
		return piece, text[len(prefix):], err
	}
	if i := strings.IndexAny(text, ` '"`); i >= 0 {
		return text[:i], text[i:], nil
	}
	return text, "", nil
}

// permitted are the names of the differences that are allowed, each a section of this file.
func permitted() (map[string]bool, error) {
	text, err := os.ReadFile("../../../node/etcdapi/differences.md")
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "### "); ok {
			names[strings.TrimSpace(name)] = true
		}
	}
	return names, nil
}

// TestScriptReads: quotes, variables of a command, and what follows it.
func TestScriptReads(t *testing.T) {
	steps, err := parseScript("# words\n! put 'a b' \"c\\td\"e ''\n< x\n? y z\n+ get k\n= L lease (.+) granted\n~ sorted\n\nget k\n~ differs some-name\n| ours\n")
	if err != nil || len(steps) != 2 {
		t.Fatalf("%v: %d steps", err, len(steps))
	}
	s := steps[0]
	if !s.fails || !s.sorted || !s.waits() || len(s.acts) != 3 || s.acts[1] != (act{'?', "y z"}) || s.takes[0].name != "L" || s.line != 2 {
		t.Errorf("%+v", s)
	}
	all, err := words(s.command)
	if want := []string{"put", "a b", "c\tde", ""}; err != nil || strings.Join(all, "|") != strings.Join(want, "|") {
		t.Errorf("%q: %v", all, err)
	}
	if o := steps[1]; o.differs != "some-name" || len(o.ours) != 1 || o.fails || o.waits() {
		t.Errorf("%+v", o)
	}
	for _, bad := range []string{"< alone", "get k\n~ perhaps", "get k\n= L none", "get k\n= L ("} {
		if _, err := parseScript(bad); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
	for _, bad := range []string{"put 'a", `put "a`} {
		if _, err := words(bad); err == nil {
			t.Errorf("%q is split", bad)
		}
	}
}
