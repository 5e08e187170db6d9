package image

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Stage is the final stage of a Dockerfile: what its image holds, before it is known which file of this
// machine stands for which file of an earlier stage.
type Stage struct {
	Copies     []Copy
	User       string
	Env        []string
	Entrypoint []string
	Cmd        []string
	WorkDir    string
	Ports      []string
	Labels     map[string]string
}

// Copy is one COPY instruction. From names the earlier stage, or is empty for the build context.
type Copy struct {
	From    string
	Sources []string
	Dest    string // absolute; a directory if it ends with a slash
	Line    int
}

// instruction is one instruction with its arguments as they stand there, continued lines joined.
type instruction struct {
	word string
	args string
	line int
}

// ReadDockerfile reads the final stage of the Dockerfile at file.
func ReadDockerfile(file string) (*Stage, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s, err := ParseDockerfile(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return s, nil
}

// ParseDockerfile reads the final stage of a Dockerfile, which must be FROM scratch. Earlier stages are not
// looked at. An instruction of the final stage that it does not know is an error, because an image made
// without it would not be the image that was described.
func ParseDockerfile(r io.Reader) (*Stage, error) {
	all, err := instructions(r)
	if err != nil {
		return nil, err
	}
	last := -1
	for i, in := range all {
		if in.word == "FROM" {
			last = i
		}
	}
	if last < 0 {
		return nil, errors.New("there is no FROM")
	}
	if base := strings.Fields(all[last].args); len(base) == 0 || base[0] != "scratch" {
		return nil, fmt.Errorf("line %d: the final stage is FROM %s: only FROM scratch can be made without a registry", all[last].line, all[last].args)
	}
	s := &Stage{}
	for _, in := range all[last+1:] {
		if err := s.take(in); err != nil {
			return nil, fmt.Errorf("line %d: %s: %w", in.line, in.word, err)
		}
	}
	return s, nil
}

// instructions splits a Dockerfile: comments go, and a line that ends with a backslash goes on in the next.
func instructions(r io.Reader) ([]instruction, error) {
	var all []instruction
	var open *instruction
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			if strings.HasPrefix(strings.ReplaceAll(line, " ", ""), "#escape=") {
				return nil, fmt.Errorf("line %d: another escape character is not supported", n)
			}
			continue
		}
		if open == nil {
			word, args, _ := strings.Cut(strings.ReplaceAll(line, "\t", " "), " ")
			open = &instruction{word: strings.ToUpper(word), line: n}
			line = strings.TrimSpace(args)
			if word == `\` || strings.HasSuffix(word, `\`) {
				return nil, fmt.Errorf("line %d: an instruction is broken within its first word", n)
			}
		}
		rest, more := strings.CutSuffix(line, `\`)
		open.args = strings.TrimSpace(open.args + " " + rest)
		if !more {
			all = append(all, *open)
			open = nil
		}
	}
	if open != nil {
		all = append(all, *open)
	}
	return all, lines.Err()
}

func (s *Stage) take(in instruction) error {
	if strings.Contains(in.args, "$") {
		return errors.New("variables are not supported in the final stage")
	}
	if strings.Contains(in.args, "<<") {
		return errors.New("here-documents are not supported")
	}
	if in.args == "" {
		return errors.New("it has no arguments")
	}
	var err error
	switch in.word {
	case "COPY":
		return s.takeCopy(in)
	case "USER":
		s.User, err = single(in.args)
	case "WORKDIR":
		s.WorkDir, err = single(in.args)
		if !path.IsAbs(s.WorkDir) {
			s.WorkDir = path.Join("/", s.WorkDir)
		}
	case "EXPOSE":
		return s.takePorts(in.args)
	case "ENTRYPOINT":
		s.Entrypoint, err = command(in.args)
	case "CMD":
		s.Cmd, err = command(in.args)
	case "ENV":
		var pairs [][2]string
		pairs, err = assignments(in.args)
		for _, p := range pairs {
			s.Env = append(s.Env, p[0]+"="+p[1])
		}
	case "LABEL":
		return s.takeLabels(in.args)
	default:
		err = errors.New("this instruction is not known")
	}
	return err
}

func single(args string) (string, error) {
	if len(strings.Fields(args)) != 1 {
		return "", fmt.Errorf("%q is not one word", args)
	}
	return args, nil
}

// command reads the JSON form. The other one needs a shell, and there is none on scratch.
func command(args string) ([]string, error) {
	var list []string
	if err := json.Unmarshal([]byte(args), &list); err != nil || len(list) == 0 {
		return nil, fmt.Errorf(`%s needs a shell, which is not in the image: write it as ["program", "argument"]`, args)
	}
	return list, nil
}

func (s *Stage) takeCopy(in instruction) error {
	c := Copy{Line: in.line}
	args := in.args
	for strings.HasPrefix(args, "--") {
		flag, rest, _ := strings.Cut(args, " ")
		value, ok := strings.CutPrefix(flag, "--from=")
		if !ok {
			return fmt.Errorf("flag %s is not supported", flag)
		}
		c.From, args = value, strings.TrimSpace(rest)
	}
	words := strings.Fields(args)
	if strings.HasPrefix(args, "[") {
		if err := json.Unmarshal([]byte(args), &words); err != nil {
			return fmt.Errorf("%s: %w", args, err)
		}
	}
	if len(words) < 2 {
		return errors.New("it needs a source and a destination")
	}
	c.Sources, c.Dest = words[:len(words)-1], words[len(words)-1]
	dir := strings.HasSuffix(c.Dest, "/") || c.Dest == "."
	if len(c.Sources) > 1 && !dir {
		return fmt.Errorf("several sources need a directory as destination: write %s/", c.Dest)
	}
	if !path.IsAbs(c.Dest) {
		c.Dest = path.Join("/", s.WorkDir, c.Dest)
	}
	c.Dest = path.Clean(c.Dest)
	if dir && c.Dest != "/" {
		c.Dest += "/"
	}
	s.Copies = append(s.Copies, c)
	return nil
}

func (s *Stage) takePorts(args string) error {
	for _, word := range strings.Fields(args) {
		port, protocol, ok := strings.Cut(word, "/")
		if !ok {
			protocol = "tcp"
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("%q is not a port", word)
		}
		if !slices.Contains([]string{"tcp", "udp", "sctp"}, protocol) {
			return fmt.Errorf("%q is not a protocol", protocol)
		}
		s.Ports = append(s.Ports, port+"/"+protocol)
	}
	return nil
}

func (s *Stage) takeLabels(args string) error {
	pairs, err := assignments(args)
	if err != nil {
		return err
	}
	if s.Labels == nil {
		s.Labels = map[string]string{}
	}
	for _, p := range pairs {
		s.Labels[p[0]] = p[1]
	}
	return nil
}

// assignments reads NAME=VALUE words; a value may stand in double quotes, and then hold spaces.
func assignments(args string) ([][2]string, error) {
	var pairs [][2]string
	for rest := args; rest != ""; rest = strings.TrimSpace(rest) {
		name, after, ok := strings.Cut(rest, "=")
		if !ok || name == "" || strings.ContainsAny(name, " \"") {
			return nil, fmt.Errorf("%q is not NAME=VALUE", rest)
		}
		if !strings.HasPrefix(after, `"`) {
			value, more, _ := strings.Cut(after, " ")
			if strings.ContainsAny(value, `"'\`) {
				return nil, fmt.Errorf("%q: put the whole value in double quotes", rest)
			}
			pairs, rest = append(pairs, [2]string{name, value}), more
			continue
		}
		quoted, err := strconv.QuotedPrefix(after)
		if err != nil {
			return nil, fmt.Errorf("%q: its quotes do not close", rest)
		}
		value, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", rest, err)
		}
		pairs, rest = append(pairs, [2]string{name, value}), after[len(quoted):]
	}
	return pairs, nil
}

// Spec says which image the stage describes, with files of the build context taken from dir, and files of
// earlier stages from binaries: each is FILE, or SOURCE=FILE where the stage copies several.
func (s *Stage) Spec(dir string, binaries []string) (Spec, error) {
	spec := Spec{User: s.User, Env: s.Env, Entrypoint: s.Entrypoint, Cmd: s.Cmd, WorkDir: s.WorkDir, Ports: s.Ports, Labels: s.Labels}
	given, err := s.match(binaries)
	if err != nil {
		return Spec{}, err
	}
	for _, c := range s.Copies {
		for _, source := range c.Sources {
			file := filepath.Join(dir, source)
			if c.From != "" {
				file = given[source]
			} else if !filepath.IsLocal(strings.TrimPrefix(source, "/")) {
				return Spec{}, fmt.Errorf("line %d: COPY: %s lies outside of the build context", c.Line, source)
			}
			dest := c.Dest
			if strings.HasSuffix(dest, "/") {
				dest += path.Base(source)
			}
			spec.Files = append(spec.Files, File{Path: dest, Source: file})
		}
	}
	return spec, nil
}

// match pairs what the stage copies from earlier ones with the files given for it, and wants each to have
// exactly one counterpart.
func (s *Stage) match(binaries []string) (map[string]string, error) {
	var wanted []string
	for _, c := range s.Copies {
		if c.From != "" {
			wanted = append(wanted, c.Sources...)
		}
	}
	slices.Sort(wanted)
	wanted = slices.Compact(wanted)
	given := map[string]string{}
	for _, b := range binaries {
		source, file, ok := strings.Cut(b, "=")
		if !ok && len(wanted) == 1 {
			source, file, ok = wanted[0], b, true
		}
		if !ok {
			return nil, fmt.Errorf("--binary %s: the final stage copies %v from earlier ones: say which with SOURCE=FILE", b, wanted)
		}
		if !slices.Contains(wanted, source) || given[source] != "" {
			return nil, fmt.Errorf("--binary %s: the final stage copies %v from earlier ones, each once", b, wanted)
		}
		given[source] = file
	}
	for _, w := range wanted {
		if given[w] == "" {
			return nil, fmt.Errorf("the final stage copies %s from an earlier one: give the file with --binary %s=FILE", w, w)
		}
	}
	return given, nil
}
