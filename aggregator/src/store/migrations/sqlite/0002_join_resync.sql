-- 1 once an operator released the instance: its next re-entry may bring any join counter, once. Which of two copies was
-- given which counter is what the operator decided about.
ALTER TABLE instances ADD COLUMN join_resync INTEGER NOT NULL DEFAULT 0;
