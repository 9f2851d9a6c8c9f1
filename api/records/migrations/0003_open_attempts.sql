-- The row of an attempt is written when it begins, beside its hold: `expires` is when that ends, NULL once the attempt has
-- ended. An attempt whose end nobody has told by then is `lost`.
ALTER TABLE usage ADD COLUMN expires BIGINT;
CREATE INDEX usage_open ON usage (expires) WHERE expires IS NOT NULL;
