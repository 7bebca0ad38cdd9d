-- One block whose directory entry is given back to its holders and put together again; two instances ask for it in S
-- or X, hold it and release it at will.  Messages are lost, doubled and overtake each other.  docs/directory.md is the text.
-- The block's own protocol is cut down (block-engine.m has it): a forward is an invalidate and a grant, and an entry has one
-- grant under way at most.  What is modelled is what the summary is told, and what each message proves.
-- The summary is a count of slots that a look for this block finds: its own, and that of another block with the same
-- fingerprint and code (`other`), which is never asked for.  So each look may be a wrong positive, and one slot taken out
-- that is not this block's is a false negative.
-- Switches: all 0 = the protocol.  MUT_* = 1: a planted mistake, must fail.
const
  ASKS: 1;          -- requests of each instance
  BACKS: 1;         -- times the entry is given back
  SLOTS: 3;         -- messages under way; more are lost
  MAXT: 2;          -- tenures: both instances' requests
  MAXR: 2;          -- releases are numbered from 1; one more than can be
  MAXQ: 5;          -- rebuilds, numbers of questions
  MUT_UNASKED: 0;   -- an entry that was given back is made anew without asking anybody
  MUT_EARLY: 0;     -- served at the first answer
  MUT_TWICE: 0;     -- a rebuild takes two slots out of the summary
  MUT_FORGET: 0;    -- a rebuild takes one out though nobody held it
  MUT_OLDREL: 0;    -- a release that was heard before proves that the entry was given back
  MUT_STRUCK: 0;    -- a copy that a pending X took away leaves its open release behind
  MUT_BUSY: 0;      -- an entry is given back while a grant of it is under way
  MUT_ANYANSWER: 0; -- an answer to an older question counts
  ---- message kinds (numbers, so that the network can be kept sorted)
  None: 0; Request: 1; Grant: 2; Invalidate: 3; Invalidated: 4; Installed: 5; Release: 6; Released: 7; Recall: 8; Held: 9;
type
  Node: 0..1;
  Id: 0..ASKS;
  Ten: 0..MAXT;
  Rel: 0..MAXR;
  Q: 0..MAXQ;
  Mode: enum { N, S, X };
  Kind: 0..9;
  Slot: 0..SLOTS-1;
  Msg: record
    k: Kind;
    n: Node;        -- who sent it to the master, or whom the master or a peer sent it
    id: Id;         -- request
    ten: Ten;       -- granted, installed, released, held
    hten: Ten;      -- of the copy an invalidate is about
    num: Rel;       -- of a release
    q: Q;           -- of a question
    mode: Mode;
    waits: boolean; -- grant: for the other one's invalidated
  end;
  Inst: record
    mode: Mode; ten: Ten;               -- the copy
    want: Mode; id: Id;                 -- open request
    granted: boolean; gten: Ten; waits: boolean; acked: boolean;
    rel: Rel; relten: Ten;              -- release not acknowledged
    nextrel: Rel;
  end;
  Dir: record
    mode: Mode; ten: Ten;               -- holder
    q: Mode; qid: Id;                   -- queued
    struck: Ten;                        -- of the pending grant: told to invalidate this copy
    awaited: boolean;                   -- of the rebuild
  end;
var
  net: array [Slot] of Msg;
  c: array [Node] of Inst;
  d: array [Node] of Dir;
  present: boolean;       -- the entry is there
  pend: boolean; pendn: Node; pendid: Id; pendmode: Mode; pendten: Ten;
  rebuild: boolean; q: Q; found: boolean;
  floor: Ten;             -- last tenure
  mark: array [Node] of Id;
  low: array [Node] of Rel;                           -- the window of releases heard
  heard: array [Node] of array [Rel] of boolean;
  count: 0..3;            -- the summary: slots that are found
  other: boolean;         -- the other block's is one of them
  cold: boolean;          -- ghost: this block's is
  backs: 0..BACKS;

procedure Blank(var m: Msg);
begin
  m.k := None; m.n := 0; m.id := 0; m.ten := 0; m.hten := 0; m.num := 0; m.q := 0; m.mode := N; m.waits := false;
end;

-- Place in the network, which is kept sorted, so that the same messages are the same state.
function Key(m: Msg): 0..20000000;
var mode: 0..2;
begin
  mode := m.mode = N ? 0 : (m.mode = S ? 1 : 2);
  return (((((((m.k * 2 + m.n) * (ASKS + 1) + m.id) * (MAXT + 1) + m.ten) * (MAXT + 1) + m.hten) * (MAXR + 1) + m.num)
          * (MAXQ + 1) + m.q) * 3 + mode) * 2 + (m.waits ? 1 : 0);
end;

-- No slot: lost; one like it under way: stands for both.  Timers say it again.
procedure Send(var m: Msg);
var x: Msg; y: Msg; there: boolean;
begin
  there := false;
  for s: Slot do if Key(net[s]) = Key(m) then there := true; end; end;
  if !there & net[SLOTS-1].k = None then
    x := m;
    for s: Slot do
      if x.k != None & (net[s].k = None | Key(x) < Key(net[s])) then y := net[s]; net[s] := x; x := y; end;
    end;
  end;
end;

procedure Take(s: Slot);
begin
  for i: Slot do if i >= s & i < SLOTS-1 then net[i] := net[i+1]; end; end;
  Blank(net[SLOTS-1]);
end;

function Room(): boolean;
begin return net[SLOTS-1].k = None; end;

function IsOver(n: Node; num: Rel): boolean;
begin return num < low[n] | heard[n][num]; end;

-- One release an instance at most is open here, so whatever names one says that all lower ones are over.
procedure HearNumber(n: Node; num: Rel);
begin
  if num > low[n] then
    for r: Rel do if r < num then heard[n][r] := false; end; end;
    low[n] := num;
  end;
end;

procedure Heard(n: Node; num: Rel);
begin if num >= low[n] then heard[n][num] := true; end; end;

procedure SendRequest(n: Node);
var m: Msg;
begin Blank(m); m.k := Request; m.n := n; m.id := c[n].id; m.mode := c[n].want; Send(m); end;

procedure SendRelease(n: Node);
var m: Msg;
begin Blank(m); m.k := Release; m.n := n; m.ten := c[n].relten; m.num := c[n].rel; Send(m); end;

procedure SendReleased(n: Node; ten: Ten);
var m: Msg;
begin Blank(m); m.k := Released; m.n := n; m.ten := ten; Send(m); end;

procedure SendInstalled(n: Node; ten: Ten);
var m: Msg;
begin Blank(m); m.k := Installed; m.n := n; m.ten := ten; Send(m); end;

procedure SendRecall(n: Node);
var m: Msg;
begin Blank(m); m.k := Recall; m.n := n; m.q := q; Send(m); end;

procedure SayGrant();
var m: Msg;
begin
  for h: Node do
    if d[h].struck != 0 then
      Blank(m); m.k := Invalidate; m.n := h; m.hten := d[h].struck; m.id := pendid; Send(m);
    end;
  end;
  Blank(m); m.k := Grant; m.n := pendn; m.id := pendid; m.ten := pendten; m.mode := pendmode;
  m.waits := d[1 - pendn].struck != 0; Send(m);
end;

procedure TryBegin(n: Node);
begin
  if c[n].granted & (!c[n].waits | c[n].acked) then
    c[n].mode := c[n].want; c[n].ten := c[n].gten; c[n].want := N;
    c[n].granted := false; c[n].waits := false; c[n].acked := false; c[n].gten := 0;
    SendInstalled(n, c[n].ten);
  end;
end;

procedure EntryClear();
begin
  present := false;
  for n: Node do d[n].mode := N; d[n].ten := 0; end;
end;

procedure PendEnd();
begin
  mark[pendn] := pendid;
  pend := false; pendn := 0; pendid := 0; pendmode := N; pendten := 0;
  for n: Node do d[n].struck := 0; end;
end;

procedure OnRelease(n: Node; ten: Ten; num: Rel);
begin
  Heard(n, num);
  if pend & pendn = n & pendten = ten then PendEnd();       -- it overtook its own installed
  elsif d[n].mode != N & d[n].ten = ten then d[n].mode := N; d[n].ten := 0;
  end;
  SendReleased(n, ten);
end;

procedure RebuildBegin();
begin
  present := true; rebuild := true; q := q + 1; found := false;
  for n: Node do d[n].awaited := true; SendRecall(n); end;
end;

procedure RebuildEnd();
begin
  rebuild := false;
  for n: Node do d[n].awaited := false; end;
  if found | MUT_FORGET = 1 then
    if count = 0 then error "the summary is told to forget what it does not hold"; end;
    count := count - 1; cold := false;
  end;
  if MUT_TWICE = 1 & count > 0 then count := count - 1; end;
end;

startstate "nobody holds it; another block may have been given back"
begin
  for s: Slot do Blank(net[s]); end;
  for n: Node do
    c[n].mode := N; c[n].ten := 0; c[n].want := N; c[n].id := 0; c[n].granted := false; c[n].gten := 0;
    c[n].waits := false; c[n].acked := false; c[n].rel := 0; c[n].relten := 0; c[n].nextrel := 1;
    d[n].mode := N; d[n].ten := 0; d[n].q := N; d[n].qid := 0; d[n].struck := 0; d[n].awaited := false;
    mark[n] := 0; low[n] := 1;
    for r: Rel do heard[n][r] := false; end;
  end;
  present := false; pend := false; pendn := 0; pendid := 0; pendmode := N; pendten := 0;
  rebuild := false; q := 0; found := false; floor := 0; count := 1; other := true; cold := false; backs := 0;
end;

------------------------------------------------------------------ an instance
ruleset n: Node do
  rule "wants S" c[n].mode = N & c[n].want = N & c[n].id < ASKS & Room() ==>
  begin c[n].want := S; c[n].id := c[n].id + 1; SendRequest(n); end;
  rule "wants X" c[n].mode = N & c[n].want = N & c[n].id < ASKS & Room() ==>
  begin c[n].want := X; c[n].id := c[n].id + 1; SendRequest(n); end;
  rule "asks again" c[n].want != N & Room() ==> begin SendRequest(n); end;
  rule "evicts" c[n].mode != N & c[n].rel = 0 & Room() ==>
  begin
    c[n].rel := c[n].nextrel; c[n].nextrel := c[n].nextrel + 1; c[n].relten := c[n].ten;
    c[n].mode := N; c[n].ten := 0;
    SendRelease(n);
  end;
  rule "releases again" c[n].rel != 0 & Room() ==> begin SendRelease(n); end;
  rule "probed: says installed again" pend & pendn = n & c[n].mode != N & c[n].ten = pendten & Room() ==>
  begin SendInstalled(n, c[n].ten); end;

  ---------------------------------------------------------------- the master
  rule "serves" present & !pend & !rebuild & d[n].q != N & d[n].mode = N & floor < MAXT & Room() ==>
  begin
    floor := floor + 1;
    pend := true; pendn := n; pendid := d[n].qid; pendmode := d[n].q; pendten := floor;
    d[n].q := N; d[n].qid := 0;
    for h: Node do
      if h != n & d[h].mode != N & (pendmode = X | d[h].mode = X) then
        d[h].struck := d[h].ten; d[h].mode := N; d[h].ten := 0;
      end;
    end;
    SayGrant();
  end;
  rule "asks again who has not answered" rebuild & d[n].awaited & Room() ==> begin SendRecall(n); end;
end;

rule "gives the entry back"
  present & !rebuild & (!pend | MUT_BUSY = 1) & backs < BACKS & (exists n: Node do d[n].mode != N end) &
  (forall n: Node do d[n].q = N end) ==>
begin
  backs := backs + 1; count := count + 1; cold := true;
  if pend then PendEnd(); end;
  EntryClear();
end;

rule "forgets an entry that nobody holds"
  present & !rebuild & !pend & (forall n: Node do d[n].mode = N & d[n].q = N end) ==>
begin EntryClear(); end;

rule "the installed of a grant is doubled and late: said again" pend & Room() ==> begin SayGrant(); end;

------------------------------------------------------------------ messages
ruleset s: Slot do
  rule "lost" net[s].k != None ==> begin Take(s); end;

  rule "request" net[s].k = Request & q < MAXQ ==>
  var m: Msg;
  begin
    m := net[s]; Take(s);
    if pend & pendn = m.n & pendid = m.id then SayGrant();
    elsif m.id > mark[m.n] & d[m.n].qid < m.id & !(pend & pendn = m.n) then
      if !present then
        if count > 0 & MUT_UNASKED = 0 then RebuildBegin(); else present := true; end;
      end;
      d[m.n].q := m.mode; d[m.n].qid := m.id;
    end;
  end;

  rule "grant" net[s].k = Grant ==>
  var m: Msg;
  begin
    m := net[s]; Take(s);
    if c[m.n].want = m.mode & c[m.n].id = m.id & !c[m.n].granted then
      c[m.n].granted := true; c[m.n].gten := m.ten; c[m.n].waits := m.waits;
      TryBegin(m.n);
    elsif c[m.n].mode != N & c[m.n].ten = m.ten then SendInstalled(m.n, m.ten);
    elsif c[m.n].rel != 0 & c[m.n].relten = m.ten then SendRelease(m.n);
    end;
  end;

  rule "invalidate" net[s].k = Invalidate ==>
  var m: Msg; o: Msg;
  begin
    m := net[s]; Take(s);
    if c[m.n].mode != N & c[m.n].ten = m.hten then c[m.n].mode := N; c[m.n].ten := 0;
    elsif c[m.n].rel != 0 & c[m.n].relten = m.hten & MUT_STRUCK = 0 then c[m.n].rel := 0; c[m.n].relten := 0;
    end;
    Blank(o); o.k := Invalidated; o.n := 1 - m.n; o.id := m.id; Send(o);
  end;

  rule "invalidated" net[s].k = Invalidated ==>
  var m: Msg;
  begin
    m := net[s]; Take(s);
    if c[m.n].want != N & c[m.n].id = m.id then c[m.n].acked := true; TryBegin(m.n); end;
  end;

  rule "installed" net[s].k = Installed ==>
  var m: Msg;
  begin
    m := net[s]; Take(s);
    if pend & pendn = m.n & pendten = m.ten then
      d[m.n].mode := pendmode; d[m.n].ten := m.ten;
      PendEnd();
    end;
  end;

  rule "release" net[s].k = Release & q < MAXQ ==>
  var m: Msg;
  begin
    m := net[s]; Take(s);
    HearNumber(m.n, m.num);
    if present & !rebuild then OnRelease(m.n, m.ten, m.num);
    elsif rebuild then
      if !d[m.n].awaited then OnRelease(m.n, m.ten, m.num); end;
    elsif count > 0 & (!IsOver(m.n, m.num) | MUT_OLDREL = 1) then RebuildBegin();
    else Heard(m.n, m.num); SendReleased(m.n, m.ten);
    end;
  end;

  rule "released" net[s].k = Released ==>
  var m: Msg;
  begin
    m := net[s]; Take(s);
    if c[m.n].rel != 0 & c[m.n].relten = m.ten then c[m.n].rel := 0; c[m.n].relten := 0; end;
  end;

  rule "recall" net[s].k = Recall ==>
  var m: Msg; o: Msg;
  begin
    m := net[s]; Take(s);
    Blank(o); o.k := Held; o.n := m.n; o.q := m.q;
    if c[m.n].mode != N then o.mode := c[m.n].mode; o.ten := c[m.n].ten;
    elsif c[m.n].rel != 0 then o.num := c[m.n].rel; o.ten := c[m.n].relten;
    end;
    Send(o);
  end;

  rule "held" net[s].k = Held ==>
  var m: Msg; over: boolean;
  begin
    m := net[s]; Take(s);
    if m.num != 0 then HearNumber(m.n, m.num); end;
    if rebuild & d[m.n].awaited & (m.q = q | MUT_ANYANSWER = 1) then
      d[m.n].awaited := false;
      if m.mode != N then
        d[m.n].mode := m.mode; d[m.n].ten := m.ten; found := true;
      elsif m.num != 0 then
        over := IsOver(m.n, m.num);
        Heard(m.n, m.num);
        if !over | MUT_OLDREL = 1 then found := true; end;
        SendReleased(m.n, m.ten);
      end;
      if MUT_EARLY = 1 | (forall i: Node do !d[i].awaited end) then RebuildEnd(); end;
    end;
  end;
end;

------------------------------------------------------------------ invariants
invariant "I-1 single writer, many readers"
  (c[0].mode = X -> c[1].mode = N) & (c[1].mode = X -> c[0].mode = N);
invariant "G-14 no false negative: whoever holds a block that has no entry is remembered"
  forall n: Node do
    c[n].mode != N -> (present & !rebuild) | (pend & pendn = n) | count > (other ? 1 : 0)
  end;
invariant "G-14 the summary holds what was given back, neither more nor less"
  count = (other ? 1 : 0) + (cold ? 1 : 0);
invariant "I-3 the directory covers reality"
  forall n: Node do
    c[n].mode != N ->
        (present & d[n].mode = c[n].mode & d[n].ten = c[n].ten)
      | (pend & pendn = n & pendten = c[n].ten)
      | d[n].struck = c[n].ten
      | (cold & (!present | rebuild))
  end;
