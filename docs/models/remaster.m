-- One bucket with one block that moves between two masters; two instances ask for the block in X.  Messages are lost,
-- doubled and overtake each other; the moves and the block's grants go on at once.  docs/remaster.md is the text.
-- A grant ends by `done` (installed and given up again), so that I-1 is: nobody is granted while another is.  A grant that has
-- not begun may be taken away again (what an X grant does to pending S grants): the client refuses what comes of it, and
-- asks under a new number.  Grants are ships: they come from anybody, also when the master is another by now.
-- The bucket's entry is whether somebody holds the block (X) and under which tenure.
-- Switches: all 0 = the protocol.  MUT_* = 1: a planted mistake, must fail.
const
  MOVES: 2;           -- moves in a run
  ASKS: 2;            -- requests of each instance
  FAULTS: 0;          -- messages lost or doubled by rules of their own; late ones and those said again are there without
  SLOTS: 5;           -- messages under way; more are lost
  MAXT: 6;            -- tenures
  MUT_FROZEN: 0;      -- a grant is made while the bucket is closed
  MUT_FLOOR: 0;       -- the next owner does not hear the last tenure
  MUT_BOTH: 0;        -- the last owner goes on serving
  MUT_PLACE: 0;       -- requests of any number are served
  MUT_ENTRY: 0;       -- the entry does not follow
  MUT_BUSY: 0;        -- the bucket goes while a grant is under way
  MUT_NUMBER: 0;      -- a request keeps its number when its bucket moves
  MUT_REFUSE: 0;      -- what was taken away before it came is begun all the same
type
  Node: 0..1;
  Place: 0..MOVES;
  Ten: 0..MAXT;
  Kind: enum { Request, Grant, Installed, Release, Released, Take, Moved, Ask, Entry, Away, Gone };
  Slot: 0..SLOTS-1;
  Msg: record
    used: boolean;
    k: Kind;
    src: Node;
    dst: Node;
    req: 0..ASKS;
    ten: Ten;
    place: Place;
    who: 0..2;        -- entry: who holds, 2 = nobody
  end;
  MasterState: record
    place: Place;     -- number under which it knows the bucket
    owner: Node;
    closed: boolean;  -- TAKE is out, MOVED not heard
    imports: boolean; -- its entry is at the last owner
    has: boolean;     -- has an entry (its own, or the one that follows the bucket)
    holder: 0..2;
    pend: 0..2;       -- grant not yet installed
    pendreq: 0..ASKS;
    taking: boolean;  -- that grant is being taken away
    ten: Ten;         -- last tenure it gave, or was told
    lastten: Ten;     -- of its entry
    mark: array [Node] of 0..ASKS;
  end;
  ClientState: record
    place: Place;
    owner: Node;
    req: 0..ASKS;     -- highest number used
    asks: boolean;
    holds: boolean;
    ten: Ten;         -- held, or being released
    rel: boolean;     -- release not acknowledged
    refuse: Ten;      -- grants up to this were taken away before they came
  end;
var
  net: array [Slot] of Msg;
  m: array [Node] of MasterState;
  c: array [Node] of ClientState;
  faults: 0..FAULTS;
  moves: 0..MOVES;

procedure send(k: Kind; src: Node; dst: Node; req: 0..ASKS; ten: Ten; place: Place; who: 0..2);
var done: boolean;
begin
  done := false;
  for s: Slot do
    if !done & net[s].used & net[s].k = k & net[s].src = src & net[s].dst = dst & net[s].req = req &
       net[s].ten = ten & net[s].place = place & net[s].who = who then
      done := true;   -- said again while it is under way: one of it stands for both
    end;
  end;
  for s: Slot do
    if !done & !net[s].used then
      net[s].used := true; net[s].k := k; net[s].src := src; net[s].dst := dst; net[s].req := req;
      net[s].ten := ten; net[s].place := place; net[s].who := who;
      done := true;
    end;
  end;
  -- no slot: lost; timers say it again
end;

procedure drop(s: Slot);
begin
  net[s].used := false; net[s].k := Request; net[s].src := 0; net[s].dst := 0; net[s].req := 0;
  net[s].ten := 0; net[s].place := 0; net[s].who := 0;
end;

function free(): boolean;
begin
  for s: Slot do if !net[s].used then return true; end; end;
  return false;
end;

-- a new number; at the last one the client gives up, which no client does
procedure anew(n: Node);
begin
  if c[n].req < ASKS then
    c[n].req := c[n].req + 1;
    send(Request, n, c[n].owner, c[n].req, 0, c[n].place, 2);
  else
    c[n].asks := false;
  end;
end;

procedure told(n: Node; place: Place; owner: Node);
begin
  if place > c[n].place then
    c[n].place := place; c[n].owner := owner;
    if c[n].asks then
      if MUT_NUMBER = 0 then anew(n); else send(Request, n, owner, c[n].req, 0, place, 2); end;
    end;
  end;
end;

startstate "all is at master 0"
begin
  for s: Slot do drop(s); end;
  for n: Node do
    m[n].place := 0; m[n].owner := 0; m[n].closed := false; m[n].imports := false; m[n].has := false;
    m[n].holder := 2; m[n].pend := 2; m[n].pendreq := 0; m[n].taking := false; m[n].ten := 0; m[n].lastten := 0;
    for i: Node do m[n].mark[i] := 0; end;
    c[n].place := 0; c[n].owner := 0; c[n].req := 0; c[n].asks := false; c[n].holds := false;
    c[n].ten := 0; c[n].rel := false; c[n].refuse := 0;
  end;
  faults := 0; moves := 0;
end;

-- ---- an instance
ruleset n: Node do
  rule "want" !c[n].asks & !c[n].holds & !c[n].rel & c[n].req < ASKS & free() ==>
  begin
    c[n].req := c[n].req + 1; c[n].asks := true; c[n].refuse := 0;
    send(Request, n, c[n].owner, c[n].req, 0, c[n].place, 2);
  end;
  rule "ask again" c[n].asks & free() ==>
  begin send(Request, n, c[n].owner, c[n].req, 0, c[n].place, 2); end;
  rule "give up" c[n].holds & free() ==>
  begin
    c[n].holds := false; c[n].rel := true;
    send(Release, n, c[n].owner, 0, c[n].ten, 0, 2);
  end;
  rule "release again" c[n].rel & free() ==>
  begin send(Release, n, c[n].owner, 0, c[n].ten, 0, 2); end;
  rule "said again by its master: granted" m[n].owner = n & !m[n].closed & m[n].pend != 2 & free() ==>
  begin send(Grant, n, m[n].pend, m[n].pendreq, m[n].ten, m[n].place, 2); end;
  rule "taken away" m[n].owner = n & !m[n].closed & m[n].pend != 2 & free() ==>
  begin
    m[n].taking := true;
    send(Away, n, m[n].pend, m[n].pendreq, m[n].ten, m[n].place, 2);
  end;
  rule "entry asked again" m[n].owner = n & m[n].imports & free() ==>
  begin send(Ask, n, 1 - n, 0, 0, m[n].place, 2); end;
  -- ---- a master gives the bucket away
  rule "move" m[n].owner = n & !m[n].closed & !m[n].imports & moves < MOVES & (m[n].pend = 2 | MUT_BUSY = 1) &
       free() ==>
  begin
    moves := moves + 1;
    m[n].closed := true;
    send(Take, n, 1 - n, 0, MUT_FLOOR = 1 ? 0 : m[n].ten, m[n].place + 1, 2);
  end;
  rule "take again" m[n].closed & free() ==>
  begin send(Take, n, 1 - n, 0, MUT_FLOOR = 1 ? 0 : m[n].ten, m[n].place + 1, 2); end;
end;

ruleset s: Slot do
  rule "lost" net[s].used & faults < FAULTS ==> begin faults := faults + 1; drop(s); end;

  rule "to a client" net[s].used & (net[s].k = Grant | net[s].k = Released) ==>
  var x: Msg;
  begin
    x := net[s];
    drop(s);
    if x.k = Grant & c[x.dst].asks & x.req = c[x.dst].req then
      if x.ten > c[x.dst].refuse | MUT_REFUSE = 1 then
        c[x.dst].asks := false; c[x.dst].holds := true; c[x.dst].ten := x.ten;
      else
        anew(x.dst);
      end;
    end;
    if x.k = Released & c[x.dst].rel & x.ten = c[x.dst].ten then c[x.dst].rel := false; end;
    if x.k = Grant & c[x.dst].ten = x.ten & (c[x.dst].holds | c[x.dst].rel) then
      send(Installed, x.dst, x.src, x.req, x.ten, 0, 2);
    end;
  end;

  rule "away" net[s].used & net[s].k = Away ==>
  var x: Msg;
  begin
    x := net[s];
    drop(s);
    if x.src = c[x.dst].owner then
      if c[x.dst].asks & x.ten > c[x.dst].refuse then c[x.dst].refuse := x.ten; end;
      if c[x.dst].holds & c[x.dst].ten = x.ten then c[x.dst].holds := false; end;
      if c[x.dst].rel & c[x.dst].ten = x.ten then c[x.dst].rel := false; end;
      send(Gone, x.dst, x.src, x.req, x.ten, 0, 2);
    end;
  end;

  rule "moved" net[s].used & net[s].k = Moved ==>
  var x: Msg;
  begin
    x := net[s];
    drop(s);
    told(x.dst, x.place, x.who);
    if m[x.dst].closed & x.place = m[x.dst].place + 1 then
      m[x.dst].closed := false; m[x.dst].place := x.place; m[x.dst].owner := x.who;
    elsif m[x.dst].owner != x.dst & x.place > m[x.dst].place & x.who != x.dst then
      m[x.dst].place := x.place; m[x.dst].owner := x.who;
    end;
  end;

  rule "take" net[s].used & net[s].k = Take ==>
  var x: Msg;
  begin
    x := net[s];
    drop(s);
    if x.place > m[x.dst].place then
      m[x.dst].place := x.place; m[x.dst].owner := x.dst; m[x.dst].imports := true; m[x.dst].has := false;
      m[x.dst].holder := 2; m[x.dst].pend := 2; m[x.dst].taking := false;
      if x.ten > m[x.dst].ten then m[x.dst].ten := x.ten; end;
      told(x.dst, x.place, x.dst);
      send(Moved, x.dst, x.src, 0, 0, x.place, x.dst);
    else
      send(Moved, x.dst, x.src, 0, 0, m[x.dst].place, m[x.dst].owner);
    end;
  end;

  rule "entry asked" net[s].used & net[s].k = Ask & !m[net[s].dst].closed ==>
  -- the last answer ends the move: it comes when MOVED has been heard
  var x: Msg;
  begin
    x := net[s];
    drop(s);
    if x.place = m[x.dst].place & m[x.dst].owner != x.dst then
      send(Entry, x.dst, x.src, 0, m[x.dst].lastten, x.place, MUT_ENTRY = 1 ? 2 : m[x.dst].holder);
    end;
  end;

  rule "entry" net[s].used & net[s].k = Entry ==>
  var x: Msg;
  begin
    x := net[s];
    drop(s);
    if m[x.dst].owner = x.dst & m[x.dst].imports & m[x.dst].place = x.place then
      m[x.dst].imports := false; m[x.dst].has := true; m[x.dst].holder := x.who; m[x.dst].lastten := x.ten;
    end;
  end;

  rule "to a master" net[s].used & (net[s].k = Request | net[s].k = Installed | net[s].k = Release | net[s].k = Gone) &
       !(m[net[s].dst].closed & MUT_FROZEN = 0) ==>
  var x: Msg; n: Node; serves: boolean;
  begin
    x := net[s];
    n := x.dst;
    serves := m[n].owner = n | (MUT_BOTH = 1 & m[n].place > 0);
    drop(s);
    if !serves then
      send(Moved, n, x.src, 0, 0, m[n].place, m[n].owner);
    elsif x.k = Request then
      if x.place != m[n].place & MUT_PLACE = 0 then
        if x.place < m[n].place then send(Moved, n, x.src, 0, 0, m[n].place, n); end;
      elsif !m[n].imports & m[n].pend = 2 & m[n].holder = 2 & x.req > m[n].mark[x.src] then
        if m[n].ten < MAXT then
          m[n].ten := m[n].ten + 1; m[n].lastten := m[n].ten; m[n].pend := x.src; m[n].pendreq := x.req; m[n].taking := false;
          m[n].has := true;
          send(Grant, n, x.src, x.req, m[n].ten, m[n].place, 2);
        end;
      end;
    elsif x.k = Installed then
      if m[n].pend = x.src & m[n].ten = x.ten & !m[n].taking then
        m[n].pend := 2; m[n].holder := x.src; m[n].mark[x.src] := m[n].pendreq;
      end;
    elsif x.k = Gone then
      if m[n].pend = x.src & m[n].ten = x.ten & m[n].taking then
        m[n].pend := 2; m[n].taking := false; m[n].mark[x.src] := m[n].pendreq;
      end;
    elsif !m[n].imports then
      if m[n].pend = x.src & m[n].ten = x.ten then
        m[n].pend := 2; m[n].mark[x.src] := m[n].pendreq;
      elsif m[n].holder = x.src & m[n].lastten = x.ten then
        m[n].holder := 2;
      end;
      send(Released, n, x.src, 0, x.ten, 0, 2);
    end;
  end;

  rule "doubled" net[s].used & faults < FAULTS & net[s].k = Request ==>
  -- stays, and comes again: as if one more had been sent
  var x: Msg;
  begin
    x := net[s];
    faults := faults + 1;
    for t: Slot do
      if x.used & !net[t].used then net[t] := x; x.used := false; end;
    end;
  end;
end;

invariant "I-1 one holder" !(c[0].holds & c[1].holds);
invariant "I-10 one owner" !(m[0].owner = 0 & m[1].owner = 1 & !m[0].closed & !m[1].closed);
invariant "I-3 the directory covers reality"
  forall n: Node do
    forall i: Node do
      (m[n].owner = n & !m[n].closed & !m[n].imports & c[i].holds) ->
        (m[n].holder = i | (m[n].pend = i & m[n].ten = c[i].ten))
    end
  end;
invariant "tenures differ"
  !(c[0].holds & c[1].rel & c[0].ten = c[1].ten) & !(c[1].holds & c[0].rel & c[0].ten = c[1].ten);
invariant "nothing is granted that nobody waits for"
  forall n: Node do
    (m[n].owner = n & m[n].pend != 2 & !m[n].taking) ->
      (m[n].pend = 0 ? (c[0].req = m[n].pendreq) : (c[1].req = m[n].pendreq))
  end;
