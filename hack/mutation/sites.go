package main

import (
	"go/ast"
	"go/token"
	"go/types"
	"strconv"
	"strings"
)

// site is a place with one mutant: the change by itself, and the pieces that put it in behind its number, which they
// name as $ID.
type site struct {
	mutant
	checker *checker
	pieces  []edit
}

func (s site) edits(id int) []edit {
	var edits []edit
	for _, e := range s.pieces {
		e.text = strings.ReplaceAll(e.text, "$ID", strconv.Itoa(id))
		edits = append(edits, e)
	}
	return edits
}

// walker finds the sites of one file.
type walker struct {
	file    *file
	checker *checker
	tree    *ast.File
	set     *token.FileSet
	info    *types.Info
	sites   []site
	dull    map[ast.Node]bool // literals whose change would be the same as another mutant, or seen by nobody
}

func (w *walker) walk() []site {
	w.dull = map[ast.Node]bool{}
	for _, decl := range w.tree.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok || f.Body == nil || len(f.Body.List) == 0 || f.Name.Name == "String" || f.Name.Name == "Error" {
			continue
		}
		w.returnEarly(f)
		ast.Inspect(f.Body, w.visit)
	}
	return w.sites
}

// visit makes the mutants of one node; false keeps out of what lies below.
func (w *walker) visit(n ast.Node) bool {
	switch x := n.(type) {
	case *ast.BlockStmt:
		w.statements(x.List)
	case *ast.CaseClause:
		w.statements(x.Body)
		w.caseBody(x.Body)
	case *ast.CommClause:
		w.statements(x.Body)
		w.caseBody(x.Body)
	case *ast.IfStmt:
		if mentionsCap(x.Cond) {
			return false // gives memory up early: nobody sees when
		}
		w.condition(x.Cond)
	case *ast.SwitchStmt:
		if x.Tag == nil {
			for _, c := range x.Body.List {
				for _, e := range c.(*ast.CaseClause).List {
					w.condition(e)
				}
			}
		}
	case *ast.BinaryExpr:
		w.binary(x)
	case *ast.CallExpr:
		return w.call(x)
	case *ast.BasicLit:
		w.literal(x)
	case *ast.Ident:
		w.boolean(x)
	case *ast.GenDecl:
		return x.Tok != token.CONST
	case *ast.ArrayType:
		w.dull[x.Len] = true
	case *ast.KeyValueExpr:
		w.dull[x.Key] = true
	}
	return true
}

func (w *walker) at(p token.Pos) int { return w.set.Position(p).Offset }

func (w *walker) text(n ast.Node) string {
	return string(w.file.source[w.at(n.Pos()):w.at(n.End())])
}

// add makes a mutant that replaces what lies between two places.
func (w *walker) add(from, to token.Pos, text, what string, pieces ...edit) {
	w.sites = append(w.sites, site{
		checker: w.checker,
		mutant:  mutant{file: w.file, line: w.set.Position(from).Line, what: what, from: w.at(from), to: w.at(to), text: text},
		pieces:  pieces,
	})
}

// around makes the pieces that open before a node and close behind it.
func (w *walker) around(from, to token.Pos, open, shut string) []edit {
	a, b := w.at(from), w.at(to)
	return []edit{{from: a, to: a, text: open, other: b}, {from: b, to: b, text: shut, other: a}}
}

// instead makes the piece that replaces text where nothing nests.
func (w *walker) instead(from, to token.Pos, text string) edit {
	return edit{from: w.at(from), to: w.at(to), text: text, other: w.at(from)}
}

// either makes a condition another one.
func (w *walker) either(e ast.Expr, text, what string) {
	w.add(e.Pos(), e.End(), text, what, w.around(e.Pos(), e.End(), "(mutantOn != $ID && (", ") || mutantOn == $ID && ("+text+"))")...)
}

// returnEarly makes a function do nothing and return zero values.
func (w *walker) returnEarly(f *ast.FuncDecl) {
	var zeros []string
	if f.Type.Results != nil {
		for _, r := range f.Type.Results.List {
			for range max(1, len(r.Names)) {
				zeros = append(zeros, "*new("+w.text(r.Type)+")")
			}
		}
	}
	if only, ok := f.Body.List[0].(*ast.ReturnStmt); len(f.Body.List) == 1 && (zeros == nil || ok && allZero(only.Results)) {
		return // the same as without its statement, or as it is
	}
	from := f.Body.Lbrace + 1
	back := "return " + strings.Join(zeros, ", ")
	w.add(from, from, " "+back+";", "returns early", w.instead(from, from, " if mutantOn == $ID { "+back+" };"))
}

func allZero(results []ast.Expr) bool {
	for _, r := range results {
		switch x := r.(type) {
		case *ast.Ident:
			if x.Name != "nil" && x.Name != "false" {
				return false
			}
		case *ast.BasicLit:
			if x.Value != "0" && x.Value != `""` {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// statements removes each statement that does something.
func (w *walker) statements(list []ast.Stmt) {
	for _, s := range list {
		if !removable(s) {
			continue
		}
		w.add(s.Pos(), s.End(), "", "statement removed", w.around(s.Pos(), s.End(), "if mutantOn != $ID { ", " }")...)
		if a, ok := s.(*ast.AssignStmt); ok && (a.Tok == token.ADD_ASSIGN || a.Tok == token.SUB_ASSIGN) && w.isInteger(a.Lhs[0]) {
			sign := map[token.Token]string{token.ADD_ASSIGN: "-=", token.SUB_ASSIGN: "+="}[a.Tok]
			turned := w.text(a.Lhs[0]) + " " + sign + " " + w.text(a.Rhs[0])
			w.add(s.Pos(), s.End(), turned, "sign turned", w.around(s.Pos(), s.End(), "if mutantOn != $ID { ", " } else { "+turned+" }")...)
		}
	}
}

// removable leaves declarations and control flow alone, and locks, which the race detector watches.
func removable(s ast.Stmt) bool {
	switch x := s.(type) {
	case *ast.AssignStmt:
		if id, ok := x.Lhs[0].(*ast.Ident); ok && id.Name == "_" && len(x.Lhs) == 1 {
			return !isDull(x.Rhs[0])
		}
		return x.Tok != token.DEFINE
	case *ast.ExprStmt:
		return !isDull(x.X)
	case *ast.DeferStmt:
		return !isDull(x.Call)
	case *ast.IncDecStmt, *ast.SendStmt:
		return true
	case *ast.BranchStmt:
		return x.Tok != token.FALLTHROUGH && x.Tok != token.GOTO
	case *ast.ReturnStmt:
		return len(x.Results) == 0
	}
	return false
}

// isDull reports calls whose loss no test is to see: locks, and clearing what may be freed.
func isDull(e ast.Expr) bool {
	c, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	switch f := c.Fun.(type) {
	case *ast.SelectorExpr:
		return strings.HasSuffix(f.Sel.Name, "Lock") || strings.HasSuffix(f.Sel.Name, "Unlock")
	case *ast.Ident:
		if f.Name == "clear" {
			_, part := c.Args[0].(*ast.SliceExpr)
			return part
		}
	}
	return false
}

// caseBody makes a case do nothing, where that is more than one statement removed.
func (w *walker) caseBody(body []ast.Stmt) {
	if len(body) == 0 || len(body) == 1 && removable(body[0]) {
		return
	}
	from, last := body[0].Pos(), body[len(body)-1]
	if b, ok := last.(*ast.BranchStmt); ok && b.Tok == token.FALLTHROUGH {
		return
	}
	w.add(from, last.End(), "", "case emptied", w.around(from, last.End(), "if mutantOn != $ID { ", " }")...)
}

// condition negates what is not a comparison, which has its own.
func (w *walker) condition(e ast.Expr) {
	switch x := e.(type) {
	case *ast.BinaryExpr:
		if x.Op == token.LAND || x.Op == token.LOR {
			w.either(e, "!("+w.text(e)+")", "condition negated")
		}
	case *ast.UnaryExpr:
		w.either(e, w.text(x.X), "condition negated")
	default:
		w.either(e, "!"+w.text(e), "condition negated")
	}
}

// binary swaps operators and drops operands.
func (w *walker) binary(x *ast.BinaryExpr) {
	swaps := map[token.Token][]string{
		token.EQL: {"!="}, token.NEQ: {"=="},
		token.LSS: {"<=", ">="}, token.LEQ: {"<", ">"}, token.GTR: {">=", "<="}, token.GEQ: {">", "<"},
	}
	a, b := w.text(x.X), w.text(x.Y)
	switch x.Op {
	case token.LAND, token.LOR:
		w.either(x, a, "operand dropped")
		w.either(x, b, "operand dropped")
	case token.ADD, token.SUB:
		if !w.isInteger(x) {
			return
		}
		name, sign := "mutantAdd", " - "
		if x.Op == token.SUB {
			name, sign = "mutantSub", " + "
		}
		pieces := append(w.around(x.Pos(), x.End(), name+"($ID, ", ")"), w.instead(x.X.End(), x.Y.Pos(), ", "))
		w.add(x.Pos(), x.End(), a+sign+b, "sign turned", pieces...)
	default:
		for _, op := range swaps[x.Op] {
			w.either(x, a+" "+op+" "+b, "comparison swapped")
		}
	}
}

// isInteger reports whether an expression is an integer and not a constant.
func (w *walker) isInteger(e ast.Expr) bool {
	t, ok := w.info.Types[e]
	if !ok || t.Value != nil {
		return false
	}
	basic, ok := t.Type.Underlying().(*types.Basic)
	return ok && basic.Info()&types.IsInteger != 0
}

// call swaps min and max. What makes texts is left alone, and so is room set aside in advance.
func (w *walker) call(x *ast.CallExpr) bool {
	switch f := x.Fun.(type) {
	case *ast.SelectorExpr:
		id, ok := f.X.(*ast.Ident)
		switch {
		case ok && (id.Name == "fmt" || id.Name == "errors" && f.Sel.Name == "New"):
			return false
		case ok && id.Name == "slices" && strings.HasSuffix(f.Sel.Name, "Func"):
			w.dullNumbers(x) // of an order's answer only the sign counts
		}
	case *ast.Ident:
		switch {
		case f.Name == "panic" || f.Name == "make" && len(x.Args) == 3:
			return false
		case (f.Name == "min" || f.Name == "max") && w.isInteger(x):
			other, name := "max", "mutantMin"
			if f.Name == "max" {
				other, name = "min", "mutantMax"
			}
			w.add(f.Pos(), f.End(), other, "min and max swapped", w.instead(f.Pos(), x.Lparen+1, name+"($ID, "))
		}
	}
	return true
}

func (w *walker) dullNumbers(in ast.Node) {
	ast.Inspect(in, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok {
			w.dull[lit] = true
		}
		return true
	})
}

// literal moves a number by one.
func (w *walker) literal(x *ast.BasicLit) {
	t, ok := w.info.Types[x]
	value, err := strconv.ParseInt(x.Value, 0, 64)
	if x.Kind != token.INT || w.dull[x] || !ok || err != nil {
		return
	}
	name, ok := w.typeName(t.Type)
	if !ok {
		return
	}
	for _, by := range []int64{1, -1} {
		if value+by < 0 || w.sameAsSwap(x, by) {
			continue
		}
		text := strconv.FormatInt(value+by, 10)
		w.add(x.Pos(), x.End(), text, "number changed", w.around(x.Pos(), x.End(), "mutantPick["+name+"]($ID, ", ", "+text+")")...)
	}
}

// typeName writes a type the way this file can.
func (w *walker) typeName(t types.Type) (string, bool) {
	if b, ok := t.(*types.Basic); ok {
		return b.Name(), b.Info()&types.IsUntyped == 0
	}
	named, ok := t.(*types.Named)
	if !ok {
		return "", false
	}
	if pkg := named.Obj().Pkg(); pkg.Path() != "raftsman.dev/"+w.file.pkg {
		for _, i := range w.tree.Imports {
			if i.Path.Value == strconv.Quote(pkg.Path()) && i.Name == nil {
				return pkg.Name() + "." + named.Obj().Name(), true
			}
		}
		return "", false
	}
	return named.Obj().Name(), true
}

// sameAsSwap reports whether moving a number says the same as swapping the comparison that it stands in.
func (w *walker) sameAsSwap(x *ast.BasicLit, by int64) bool {
	same := false
	ast.Inspect(w.tree, func(n ast.Node) bool {
		if n == nil || x.Pos() < n.Pos() || x.End() > n.End() {
			return false
		}
		if c, ok := n.(*ast.BinaryExpr); ok {
			up := map[token.Token]int64{token.LSS: 1, token.GEQ: 1, token.GTR: -1, token.LEQ: -1}[c.Op]
			if c.X == x {
				up = -up
			}
			same = same || (c.X == x || c.Y == x) && up == by
		}
		return true
	})
	return same
}

func mentionsCap(e ast.Expr) bool {
	found := false
	ast.Inspect(e, func(n ast.Node) bool {
		id, ok := n.(*ast.Ident)
		found = found || ok && id.Name == "cap"
		return true
	})
	return found
}

// boolean turns a literal.
func (w *walker) boolean(x *ast.Ident) {
	t, ok := w.info.Types[x]
	switch {
	case !ok || t.Value == nil || w.dull[x]:
	case x.Name == "true":
		w.add(x.Pos(), x.End(), "false", "literal turned", w.instead(x.Pos(), x.End(), "(mutantOn != $ID)"))
	case x.Name == "false":
		w.add(x.Pos(), x.End(), "true", "literal turned", w.instead(x.Pos(), x.End(), "(mutantOn == $ID)"))
	}
}
