-- How the last owner of a bucket comes to say that its next owner has all entries: passes over the entries, a window of them under
-- way, questions for single ones between, messages lost and late.  docs/remaster.md is the text, grd/master_move.c the code.
-- Switches: all 0 = the protocol.  MUT_* = 1: a planted mistake, must fail.
const
  KEYS: 3;
  WINDOW: 2;          -- entries under way in a pass
  COPIES: 2;          -- of a message under way; more are lost
  MUT_COUNTS: 0;      -- as many answers as entries: all are there
type
  Key: 0..KEYS-1;
  Count: 0..COPIES;
  Sum: 0..KEYS;
var
  there: array [Key] of boolean;  -- at the last owner
  here: array [Key] of boolean;   -- at the next
  cursor: 0..KEYS;
  found: Sum; sent: Sum; taken: Sum;
  done: boolean;
  entry: array [Key] of Count;    -- under way
  got: array [Key] of Count;
  ask: array [Key] of Count;

startstate "the bucket has gone, its entries have not"
begin
  for k: Key do
    there[k] := true; here[k] := false; entry[k] := 0; got[k] := 0; ask[k] := 0;
  end;
  cursor := 0; found := 0; sent := 0; taken := 0; done := false;
end;

procedure say_entry(k: Key); begin if entry[k] < COPIES then entry[k] := entry[k] + 1; end; end;
procedure say_got(k: Key); begin if got[k] < COPIES then got[k] := got[k] + 1; end; end;
procedure pass(); begin cursor := 0; found := 0; sent := 0; taken := 0; end;

-- ---- the last owner
rule "look at the next" !done & cursor < KEYS & sent - taken < WINDOW ==>
begin
  if there[cursor] then say_entry(cursor); found := found + 1; sent := sent + 1; end;
  cursor := cursor + 1;
end;
rule "the pass is over" !done & cursor = KEYS & sent = taken ==>
begin
  if found = 0 | MUT_COUNTS = 1 then done := true; else pass(); end;
end;
rule "nothing comes: again from the first" !done & (cursor = KEYS | sent - taken >= WINDOW) & sent > taken ==>
begin pass(); end;

ruleset k: Key do
  rule "asked" ask[k] > 0 ==>
  begin
    ask[k] := ask[k] - 1;
    if there[k] then say_entry(k); end;
  end;
  rule "got" got[k] > 0 ==>
  begin
    got[k] := got[k] - 1;
    if there[k] then
      there[k] := false;
      if taken < sent then taken := taken + 1; end;
    end;
  end;
  -- ---- the next owner
  rule "somebody wants it" !here[k] & ask[k] < COPIES ==> begin ask[k] := ask[k] + 1; end;
  rule "an entry comes" entry[k] > 0 ==>
  begin
    entry[k] := entry[k] - 1;
    here[k] := true;
    say_got(k);
  end;
  rule "no room for it: it comes again" entry[k] > 0 & !here[k] ==> begin entry[k] := entry[k] - 1; end;
  -- ---- the network
  rule "entry lost" entry[k] > 0 ==> begin entry[k] := entry[k] - 1; end;
  rule "got lost" got[k] > 0 ==> begin got[k] := got[k] - 1; end;
end;

invariant "I-3 what is forgotten there is known here" forall k: Key do there[k] | here[k] end;
invariant "I-3 what is said to be over is over" done -> forall k: Key do here[k] end;
invariant "nothing stays behind" done -> forall k: Key do !there[k] end;
